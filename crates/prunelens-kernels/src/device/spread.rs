//! How activations lie about zero and about their mean.

use candle_core::Tensor;

use super::{Backend, Buffer, Shape, THREADS, launch, prune::add_parts};
use crate::{
    error::{Error, Result},
    spread::{Spread, counted},
};

/// Tokens whose sums are taken one after the other.
const PART: usize = 64;

/// Of `x [tokens, d_in]` (f32); `kept` are the tokens that count. Twin: [`Spread::of`].
pub fn spread(backend: &dyn Backend, x: &Tensor, kept: &[bool]) -> Result<Spread> {
    let (tokens, width) = x.dims2()?;
    if kept.len() != tokens {
        return Err(Error::invalid(format!(
            "{tokens} tokens, of {} of which it is known whether they count",
            kept.len()
        )));
    }
    let flags: Vec<u8> = kept.iter().map(|kept| u8::from(*kept)).collect();
    let (x, flags) = (Buffer::<f32>::of(backend, x)?, Buffer::from_slice(backend, &flags)?);
    let (sums, out) = (Buffer::<f64>::zeros(backend, width)?, Buffer::<f64>::new(backend, 2 * tokens)?);
    if out.is_empty() || sums.is_empty() {
        return Ok(Spread { sum: vec![0.0; width], ..Spread::default() });
    }
    let down = tokens.div_ceil(PART);
    let parts = Buffer::<f64>::new(backend, down * width)?;
    let shape = Shape::grid((width as u64).div_ceil(u64::from(THREADS)), down as u64, THREADS)?;
    let arguments = [x.address(), flags.address(), tokens as u64, PART as u64, width as u64, parts.address()];
    // A number a column and row of blocks.
    launch(backend, "spread", "sums_of_kept", shape, &arguments)?;
    add_parts(backend, &parts, down, &sums)?;
    let arguments = [x.address(), sums.address(), counted(kept) as u64, width as u64, out.address()];
    launch(backend, "spread", "spread", Shape::many_rows(tokens, width)?, &arguments)?;
    let (norm_sq, centred_sq) = out.to_vec(backend)?.chunks_exact(2).map(|token| (token[0], token[1])).unzip();
    Ok(Spread { sum: sums.to_vec(backend)?, norm_sq, centred_sq })
}
