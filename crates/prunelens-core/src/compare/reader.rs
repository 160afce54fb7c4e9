//! An SAE that reads a model: one variant at work.

use std::sync::Arc;

use candle_core::Tensor;

use super::Variant;
use crate::{
    error::{Error, Result},
    model::{Captured, HookPoint, Model, Space, processing::Offset},
    sae::{Dictionary, Encoded, Pruning, Side},
};

/// One variant: which SAE reads which model, where, and pruned how.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Which of the four.
    pub variant: Variant,
    /// The model that is read.
    pub model: Arc<Model>,
    /// The SAE that reads it.
    pub sae: Arc<dyn Dictionary>,
    /// The SAE's own pruning, for the `pruned` variant.
    pub pruning: Option<Pruning>,
    /// Where it reads.
    pub hook: HookPoint,
    /// Which activations it was trained on.
    pub space: Space,
    offset: Offset,
}

impl Reader {
    /// Refuses an SAE that does not fit the model at the hook.
    pub fn new(
        variant: Variant,
        model: Arc<Model>,
        sae: Arc<dyn Dictionary>,
        pruning: Option<Pruning>,
        hook: HookPoint,
        space: Space,
    ) -> Result<Self> {
        model.check_hook(hook)?;
        let width = model.d_in(hook.site);
        if sae.d_in() != width {
            return Err(Error::invalid(format!(
                "the SAE {} reads activations of width {}, but {hook} of {} has width {width}; choose an SAE of this hook or --hook",
                sae.config.name,
                sae.d_in(),
                model.name
            )));
        }
        if let Some(module) = &sae.config.module {
            model.check_module(module).map_err(|why| {
                Error::invalid(format!("the SAE {} reads {module} (hook_name): {why}", sae.config.name))
            })?;
        }
        let offset = model.offset(hook, space)?;
        Ok(Self { variant, model, sae, pruning, hook, space, offset })
    }

    /// Activations `[batch * time, d_in]` f32 where the model is, in the SAE's space.
    pub fn input(&self, captured: &Captured) -> Result<Tensor> {
        self.to_space(&captured.acts.flatten_to(1)?)
    }

    /// Activations `[n, d_in]` of the model, in the SAE's space.
    pub fn to_space(&self, acts: &Tensor) -> Result<Tensor> {
        let x = acts.clone();
        Ok(match &self.offset {
            Offset::None => x,
            Offset::Fixed(v) => x.broadcast_sub(&v.to_device(x.device())?)?,
            Offset::Mean => x.broadcast_sub(&x.mean_keepdim(1)?)?,
        })
    }

    /// Latents of activations in the SAE's space, with its pruning.
    pub fn encode(&self, x: &Tensor) -> Result<Encoded> {
        self.sae.encode(x, self.pruning.as_ref())
    }

    /// Reconstruction in the SAE's space.
    pub fn decode(&self, encoded: &Encoded) -> Result<Tensor> {
        self.sae.decode(encoded, self.pruning.as_ref())
    }

    /// A reconstruction back in the model's space, shaped like the activations it stands for.
    pub fn replacement(&self, captured: &Captured, recon: &Tensor) -> Result<Tensor> {
        let back = self.from_space(&captured.acts.flatten_to(1)?, recon)?;
        Ok(back.reshape(captured.acts.shape())?)
    }

    /// What stands for activations `acts [n, d_in]` of the model, out of the SAE's space.
    pub fn from_space(&self, acts: &Tensor, x: &Tensor) -> Result<Tensor> {
        let x = x.to_device(acts.device())?;
        Ok(match &self.offset {
            Offset::None => x,
            Offset::Fixed(v) => x.broadcast_add(&v.to_device(x.device())?)?,
            Offset::Mean => x.broadcast_add(&acts.mean_keepdim(1)?)?,
        })
    }

    /// The decoder's row of a latent `[d_in]`, as the SAE's setting leaves it.
    pub fn direction(&self, latent: u32) -> Result<Vec<f32>> {
        self.sae.row(Side::Dec, self.pruning.as_ref(), latent)
    }
}
