//! The logit lens of an SAE: what its latents do to a model's logits straight away, past the layers after the hook.
//!
//! A unit of latent `j` raises the logit of token `t` by
//!
//! ```text
//! (W_U (γ ⊙ d_j))_t - mean over the vocabulary
//! ```
//!
//! where `d_j` is its decoder row, less its own mean where the final norm is a LayerNorm, `W_U` the output matrix, and `γ` the
//! weight of that norm, whose scale is left out. At `hook_z` the row goes through the layer's `W_O` first.

use candle_core::{D, DType, Tensor};
use prunelens_kernels::{matmul, with_f32};

use crate::{
    error::Result,
    model::{HookPoint, Model, NormKind, Site},
    sae::Sae,
};

/// How far a unit of a latent raises each token's logit.
pub fn of_latent(model: &Model, hook: HookPoint, sae: &Sae, latent: u32) -> Result<Vec<f32>> {
    let row = sae.w_dec.narrow(0, latent as usize, 1)?.force_contiguous()?;
    let mut direction = row.to_device(&model.device)?.to_dtype(model.dtype)?;
    if hook.site == Site::Z {
        direction = direction.matmul(&model.blocks[hook.layer].o.weight.t()?)?;
    }
    direction = model.ln_final.scale(&centred(model, direction)?)?;
    let logits = model.unembed.weight.matmul(&direction.t()?)?.flatten_all()?.to_dtype(DType::F32)?;
    with_f32(&logits, |logits| {
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        logits.iter().map(|logit| logit - mean).collect()
    })
}

/// How far a unit of each latent raises a token's logit.
pub fn of_token(model: &Model, hook: HookPoint, sae: &Sae, token: u32) -> Result<Vec<f32>> {
    let own = model.unembed.weight.narrow(0, token as usize, 1)?;
    let mut direction = (own - model.unembed.weight.mean_keepdim(0)?)?;
    direction = centred(model, model.ln_final.scale(&direction)?)?;
    if hook.site == Site::Z {
        direction = direction.matmul(&model.blocks[hook.layer].o.weight)?;
    }
    let direction = direction.to_dtype(DType::F32)?;
    with_f32(&sae.w_dec, |rows| {
        with_f32(&direction, |direction| matmul::linear(direction, rows, None, sae.d_in(), sae.d_sae()))
    })?
}

/// What a LayerNorm passes of a direction in the residual stream: it takes the mean over `d_model` away from every token.
fn centred(model: &Model, direction: Tensor) -> Result<Tensor> {
    Ok(match model.ln_final.kind {
        NormKind::LayerNorm => direction.broadcast_sub(&direction.mean_keepdim(D::Minus1)?)?,
        NormKind::RmsNorm => direction,
    })
}
