//! The models' own passes over a prompt, stopped at a hook and gone on with from there.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Reader, Variant, splice::CleanPass};
use crate::{
    error::{Error, Result},
    model::{Captured, HookPoint, Model},
    progress::Tick,
};

/// One model's pass: stopped at the hook, gone on to the end when first needed.
#[derive(Clone)]
pub(super) struct Pass {
    model: Arc<Model>,
    pub captured: Captured,
    pub clean: Option<Arc<CleanPass>>,
}

impl Pass {
    fn read(reader: &Reader, ids: &[u32], tick: Tick) -> Result<Self> {
        let model = reader.model.clone();
        let tokens = Tensor::from_vec(ids.to_vec(), (1, ids.len()), &model.device)?;
        let captured = model.capture(&tokens, reader.hook, tick)?;
        Ok(Self { model, captured, clean: None })
    }

    /// At a later hook: the model is run neither up to here again, nor to its end.
    fn on(&self, hook: HookPoint, tick: Tick) -> Result<Self> {
        Ok(Self { captured: self.model.capture_on(&self.captured, hook, tick)?, ..self.clone() })
    }

    /// The model's pass to its end, with the next tokens.
    pub fn finish(&mut self, targets: &[Option<u32>], tick: Tick) -> Result<()> {
        if self.clean.is_none() {
            self.clean = Some(Arc::new(CleanPass::new(&self.model, &self.captured, targets.to_vec(), tick)?));
        }
        Ok(())
    }
}

/// Both models' passes over a prompt, stopped at a hook: the SAEs of a later layer can be read from there.
#[derive(Clone)]
pub struct Passes {
    pub(super) original: Pass,
    /// None where the model was not compressed, or only one of them is read.
    pub(super) pruned: Option<Pass>,
}

impl Passes {
    /// The readers' models up to the hook that they share.
    pub fn read(ids: &[u32], readers: &[Reader], tick: Tick) -> Result<Self> {
        let first = readers.first().ok_or_else(|| Error::invalid("no variant to compare"))?;
        let other = readers.iter().find(|r| !Arc::ptr_eq(&r.model, &first.model));
        Ok(Self {
            original: Pass::read(first, ids, tick)?,
            pruned: other.map(|reader| Pass::read(reader, ids, tick)).transpose()?,
        })
    }

    /// On to a hook of a later layer.
    pub fn on(&self, hook: HookPoint, tick: Tick) -> Result<Self> {
        Ok(Self {
            original: self.original.on(hook, tick)?,
            pruned: self.pruned.as_ref().map(|pass| pass.on(hook, tick)).transpose()?,
        })
    }

    /// Where they stopped.
    pub fn hook(&self) -> HookPoint {
        self.original.captured.hook
    }

    /// Whether this is a pass of what a reader reads, where it reads.
    pub(super) fn is_for(&self, reader: &Reader) -> bool {
        Arc::ptr_eq(&self.of(reader.variant).model, &reader.model) && self.hook() == reader.hook
    }

    pub(super) fn of(&self, variant: Variant) -> &Pass {
        match &self.pruned {
            Some(pruned) if variant.on_pruned_model() => pruned,
            _ => &self.original,
        }
    }

    pub(super) fn of_mut(&mut self, variant: Variant) -> &mut Pass {
        match &mut self.pruned {
            Some(pruned) if variant.on_pruned_model() => pruned,
            _ => &mut self.original,
        }
    }
}
