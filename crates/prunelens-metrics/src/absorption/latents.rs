//! Activations at the words, and a variant's latents of them.

use super::directions::Directions;
use candle_core::Tensor;
use prunelens_core::{
    compare::Reader, data::encode_ids, error::Result, model::tokens_at_once, progress::Tick, sae::Latents,
};
use prunelens_kernels::with_f32;

/// Activations `[rows, d_in]` at one position of rows of equal length, in the reader's space.
pub fn activations(reader: &Reader, rows: &[Vec<u32>], position: usize, tick: Tick) -> Result<Vec<f32>> {
    let (ids, length) = encode_ids(rows)?;
    let tokens = Tensor::from_vec(ids, (rows.len(), length), &reader.model.device)?;
    let captured = reader.model.capture(&tokens, reader.hook, tick)?;
    let x = reader.input(&captured)?.reshape((rows.len(), length, ()))?;
    with_f32(&x.narrow(1, position, 1)?.contiguous()?, <[f32]>::to_vec)
}

/// Latents of activations `[n, d_in]`, with the norms of decoder rows folded into them.
pub fn encode(reader: &Reader, directions: &Directions, x: &[f32], tick: Tick) -> Result<Latents> {
    let (d_in, d_sae) = (reader.sae.d_in(), reader.sae.d_sae());
    let chunk = tokens_at_once((2 * d_in * d_sae) as f64, reader.sae.device());
    let mut latents = Latents::new(d_sae);
    for x in x.chunks(chunk * d_in) {
        tick()?;
        let x = Tensor::from_slice(x, (x.len() / d_in, d_in), &candle_core::Device::Cpu)?;
        latents.extend(reader.encode(&x)?.latents()?);
    }
    directions.fold(&mut latents);
    Ok(latents)
}
