//! How close a reconstruction is, over the tokens that count.

use candle_core::Tensor;
use prunelens_kernels::with_f32;

use super::ReconstructionFigures;
use crate::{error::Result, sae::Latents};

/// Figures of reconstructions `recon` of activations `x`, both `[n, d_in]`, over the tokens for which `counts` is true.
pub fn reconstruction(x: &Tensor, recon: &Tensor, latents: &Latents, counts: &[bool]) -> Result<ReconstructionFigures> {
    let d = x.dim(1)?;
    let (x, recon) = (x.contiguous()?, recon.contiguous()?);
    with_f32(&x, |x| with_f32(&recon, |recon| over_rows(x, recon, d, latents, counts)))?
}

fn over_rows(x: &[f32], recon: &[f32], d: usize, latents: &Latents, counts: &[bool]) -> ReconstructionFigures {
    let kept = || x.chunks(d).zip(recon.chunks(d)).zip(counts).filter(|(_, counts)| **counts).map(|(rows, _)| rows);
    let n = counts.iter().filter(|c| **c).count() as f64;
    let mut mean = vec![0.0; d];
    for (x, _) in kept() {
        mean.iter_mut().zip(x).for_each(|(m, v)| *m += f64::from(*v) / n);
    }
    let (mut error, mut spread, mut cosines) = (0.0, 0.0, 0.0);
    for (x, recon) in kept() {
        let (mut dot, mut xx, mut rr) = (0.0, 0.0, 0.0);
        for ((x, r), m) in x.iter().zip(recon).zip(&mean) {
            let (x, r) = (f64::from(*x), f64::from(*r));
            error += (x - r) * (x - r);
            spread += (x - m) * (x - m);
            dot += x * r;
            xx += x * x;
            rr += r * r;
        }
        cosines += if xx > 0.0 && rr > 0.0 { dot / (xx * rr).sqrt() } else { 0.0 };
    }
    let active: usize = counts.iter().enumerate().filter(|(_, c)| **c).map(|(row, _)| latents.row(row).0.len()).sum();
    ReconstructionFigures {
        l0: active as f64 / n,
        mse: error / (n * d as f64),
        explained_variance: 1.0 - error / spread,
        cossim: cosines / n,
    }
}
