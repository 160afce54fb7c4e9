//! How a reconstruction changes with its latents.

use candle_core::Tensor;
use prunelens_kernels::with_f32;
use rayon::prelude::*;

use super::{Encoded, Pruning, Sae, Side};
use crate::error::{Error, Result};

/// As [`Dictionary::decode_vjp`](super::Dictionary::decode_vjp), on the CPU.
pub(super) fn decode_vjp(sae: &Sae, encoded: &Encoded, pruning: Option<&Pruning>, g: &Tensor) -> Result<Vec<f32>> {
    let (latents, d) = (encoded.latents()?, sae.d_in());
    if g.dims() != [latents.rows(), d] {
        return Err(Error::invalid(format!("a gradient {:?} for {} reconstructions", g.dims(), latents.rows())));
    }
    let (factors, undo) = (sae.decode_factors(pruning)?, encoded.undo().factors()?);
    let factor = |latent: usize| factors.as_ref().map_or(1.0, |factors| factors[latent]);
    with_f32(&g.contiguous()?, |g| {
        sae.matrix(Side::Dec, pruning, |matrix| {
            let rows = (0..latents.rows()).into_par_iter().flat_map_iter(|row| {
                let g = &g[row * d..(row + 1) * d];
                let mut kept = vec![0.0; d];
                let slope = |latent: &u32| {
                    let latent = *latent as usize;
                    matrix.row(latent, &mut kept);
                    let along: f32 = kept.iter().zip(g).map(|(w, g)| w * g).sum();
                    along * undo.of(row) * factor(latent)
                };
                latents.row(row).0.iter().map(slope).collect::<Vec<_>>()
            });
            rows.collect()
        })
    })?
}
