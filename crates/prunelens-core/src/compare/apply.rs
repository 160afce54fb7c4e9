//! The activation that a model goes on from while edits are in force.

use candle_core::Tensor;

use super::Reader;
use crate::{
    edit::{Change, Edits, ErrorTerm},
    error::Result,
    sae::{Encoded, Latents},
};

/// What stands at the hook instead of `x [n, d_in]`, both in the SAE's space. The first row is position `first` of its text.
pub fn apply(edits: &Edits, reader: &Reader, x: &Tensor, first: usize) -> Result<Tensor> {
    edits.check(reader.sae.d_sae())?;
    let of_latents = edits.list.iter().any(|edit| !matches!(edit.change, Change::Add(_)));
    let edited = match (of_latents, edits.error) {
        (false, ErrorTerm::Keep) => x.clone(),
        (_, error) => {
            let encoded = reader.encode(x)?;
            let latents = change(edits, encoded.latents()?, first);
            let after = reader.decode(&Encoded::new(latents, encoded.undo().clone()))?;
            match error {
                ErrorTerm::Keep => {
                    let moved = (after - reader.decode(&encoded)?)?.to_device(x.device())?;
                    (x + moved)?
                }
                ErrorTerm::Drop => after.to_device(x.device())?,
            }
        }
    };
    add(edits, reader, edited, first)
}

/// `f'` of `f`.
fn change(edits: &Edits, latents: &Latents, first: usize) -> Latents {
    let mut out = Latents::new(latents.d_sae);
    for row in 0..latents.rows() {
        let (indices, values) = latents.row(row);
        let mut fired: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
        for edit in edits.list.iter().filter(|edit| edit.at.cover(first + row)) {
            let at = fired.binary_search_by_key(&edit.latent, |(latent, _)| *latent);
            let before = at.map_or(0.0, |at| fired[at].1);
            let after = match edit.change {
                Change::Ablate => 0.0,
                Change::Scale(factor) => factor * before,
                Change::Set(value) => value,
                Change::Add(_) => continue,
            };
            match at {
                Ok(at) => fired[at].1 = after,
                Err(at) => fired.insert(at, (edit.latent, after)),
            }
        }
        out.push_row(fired.into_iter().filter(|(_, value)| *value != 0.0));
    }
    out
}

/// Decoder rows added, past the SAE.
fn add(edits: &Edits, reader: &Reader, x: Tensor, first: usize) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let mut sum = vec![0.0_f32; n * width];
    let mut any = false;
    for edit in &edits.list {
        let Change::Add(strength) = edit.change else { continue };
        let direction = reader.direction(edit.latent)?;
        for (_, row) in sum.chunks_mut(width).enumerate().filter(|(row, _)| edit.at.cover(first + row)) {
            any = true;
            row.iter_mut().zip(&direction).for_each(|(sum, d)| *sum += strength * d);
        }
    }
    if !any {
        return Ok(x);
    }
    let sum = Tensor::from_vec(sum, (n, width), x.device())?;
    Ok((x + sum)?)
}
