//! How close a reconstruction is, over the tokens that count.

use candle_core::Tensor;
use prunelens_kernels::ops::Ops;

use super::ReconstructionFigures;
use crate::{error::Result, sae::Latents};

/// Figures of reconstructions `recon` of activations `x`, both `[n, d_in]`, over the tokens for which `counts` is true.
pub fn reconstruction(
    ops: &dyn Ops,
    x: &Tensor,
    recon: &Tensor,
    latents: &Latents,
    counts: &[bool],
) -> Result<ReconstructionFigures> {
    let errors = ops.token_errors(x, recon)?;
    let spread = ops.spread(x, counts)?;
    let (mut n, mut active, mut error, mut centred, mut cosines) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (token, errors) in errors()?.iter().enumerate().filter(|(token, _)| counts[*token]) {
        n += 1.0;
        active += latents.row(token).0.len() as f64;
        error += errors.resid_sq;
        centred += spread.centred_sq[token];
        let lengths = spread.norm_sq[token] * errors.out_sq;
        cosines += if lengths > 0.0 { errors.dot / lengths.sqrt() } else { 0.0 };
    }
    Ok(ReconstructionFigures {
        l0: active / n,
        mse: error / (n * x.dim(1)? as f64),
        explained_variance: 1.0 - error / centred,
        cossim: cosines / n,
    })
}
