//! Which SAE reads which model in an atlas.

use std::sync::Arc;

use prunelens_core::{
    compare::{Reader, Variant, matching::Matching},
    error::{Error, Result},
    model::{Model, ragged::readable},
    progress::Tick,
    sae::{Knob, Pruning},
    session::Session,
};

use super::{Spec, weights::Weights};

/// All that reads, and what is known of the SAEs before any text is read.
pub struct Readers {
    pub original: Reader,
    pub transfer: Reader,
    pub pruned: Reader,
    pub trained: Option<Reader>,
    /// How `pruned` is compressed.
    pub pruning: Pruning,
    /// Settings of the grid, from the untouched SAE on.
    pub ratios: Vec<f64>,
    /// The original model, for gradients: itself, or its copy on the CPU in f32.
    pub traced: Arc<Model>,
    /// Best matches in the trained SAE.
    pub matching: Option<Matching>,
    pub weights: Weights,
}

impl Readers {
    /// Ranks the SAE's weights and matches its latents: not quick for a wide one.
    pub fn new(session: &Session, spec: &Spec, tick: Tick) -> Result<Self> {
        let pruning = session.pruning(spec.setting, tick)?;
        let reader = |variant| {
            let found = session.reader(variant, spec.setting)?;
            found.ok_or_else(|| Error::invalid(format!("variant {variant} is not part of this session")))
        };
        let pruned = reader(Variant::Pruned)?;
        let trained = session.reader(Variant::Trained, spec.setting)?;
        let matching = (trained.as_ref())
            .map(|trained| Matching::new(&*pruned.sae, &*trained.sae, &*session.models.original.ops, tick))
            .transpose()?;
        tick()?;
        Ok(Self {
            original: reader(Variant::Original)?,
            transfer: reader(Variant::Transfer)?,
            traced: readable(&session.models.original)?,
            weights: Weights::new(pruned.sae.sae(), &pruning)?,
            matching,
            pruning,
            ratios: spec.ratios.clone(),
            pruned,
            trained,
        })
    }

    /// All settings of the grid take one pass over the weights.
    pub fn together(&self) -> bool {
        matches!(self.pruning.order.knob, Knob::Ratio(_)) && self.pruned.sae.device().is_cpu()
    }

    /// The latent of the trained SAE that stands for each of the original.
    pub fn matches(&self) -> Vec<u32> {
        let Some(matching) = &self.matching else { return Vec::new() };
        (0..self.original.sae.d_sae() as u32).filter_map(|latent| Some(matching.get(latent)?.latent)).collect()
    }
}
