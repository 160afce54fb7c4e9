//! What a latent's weights say of it: norms, and how many of them are kept.

use prunelens_core::{
    error::Result,
    sae::{Plan, Pruning, Sae},
};
use prunelens_kernels::with_f32;

/// One number a latent.
pub struct Weights {
    /// L2 norm of its column of `W_enc`.
    pub enc_norm: Vec<f64>,
    /// The same of its row of `W_dec`.
    pub dec_norm: Vec<f64>,
    /// Share of its weights in `W_enc` that the mask keeps, or of their directions at a rank; NaN where all are rounded.
    pub enc_kept: Vec<f64>,
    /// The same of `W_dec`.
    pub dec_kept: Vec<f64>,
    /// What its activation is multiplied by before its decoder row, where that is not 1.
    pub factors: Option<Vec<f32>>,
}

impl Weights {
    /// Of an SAE, with the mask of a pruning.
    pub fn new(sae: &Sae, pruning: &Pruning) -> Result<Self> {
        let d_in = sae.d_in();
        let norms = |w: &[f32]| -> Vec<f64> {
            let squares = |row: &[f32]| row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
            w.chunks(d_in).map(|row| squares(row).sqrt()).collect()
        };
        let kept = |plan: &Plan| -> Result<Vec<f64>> {
            let Some(ranking) = plan.ranking(d_in)? else { return Ok(vec![f64::NAN; sae.d_sae()]) };
            let cut = plan.cut(pruning.at);
            let kept = |latent| (latent * d_in..(latent + 1) * d_in).filter(|at| ranking.get(*at) >= cut).count();
            Ok((0..sae.d_sae()).map(|latent| kept(latent) as f64 / d_in as f64).collect())
        };
        Ok(Self {
            enc_norm: with_f32(&sae.w_enc, norms)?,
            dec_norm: with_f32(&sae.w_dec, norms)?,
            enc_kept: kept(&pruning.order.enc)?,
            dec_kept: kept(&pruning.order.dec)?,
            factors: sae.decode_factors(None)?,
        })
    }
}
