//! One prompt at work: what was read once, and what is encoded at each setting of the knob.

use std::{collections::HashMap, sync::Arc};

use candle_core::Tensor;

use super::{
    Comparison, Passes, Paths, Reader, SpliceFigures, Token, Variant, View, figures,
    matching::Matching,
    path::PathGrid,
    splice::{CleanPass, TokenLosses, mean, next_tokens},
};
use crate::{
    data::rows::check_rows,
    error::{Error, Result},
    model::Captured,
    progress::Tick,
    sae::{Encoded, Pruning, Setting},
};

/// One variant's results, at the setting they belong to.
struct Reading {
    reader: Reader,
    x: Tensor,
    encoded: Encoded,
    view: View,
    /// With the reconstruction in its model: the residual stream after the last block, and the losses.
    spliced: Option<(Tensor, TokenLosses)>,
}

/// A prompt read through every variant. Turning the knob encodes anew and never runs a model up to the hook again.
pub struct Prompt {
    /// The text as it was read.
    pub text: String,
    tokens: Arc<Vec<Token>>,
    ids: Vec<u32>,
    counts: Vec<bool>,
    passes: Passes,
    readings: Vec<Reading>,
    setting: Setting,
    paths: Option<(PathGrid, Arc<Paths>)>,
    /// Divergence of the pruned model from the original at every token, once it was asked for.
    between: Option<Vec<f32>>,
}

impl Prompt {
    /// Read the prompt: both models up to the hook, and every variant's latents. `readers` share the hook.
    pub fn read(text: &str, tokens: Vec<Token>, readers: Vec<Reader>, setting: Setting, tick: Tick) -> Result<Self> {
        let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
        if ids.is_empty() {
            return Err(Error::invalid("the prompt has no tokens; type some text"));
        }
        let first = readers.first().ok_or_else(|| Error::invalid("no variant to compare"))?;
        check_rows(std::slice::from_ref(&ids), first.model.config.d_vocab)?;
        let passes = Passes::read(&ids, &readers, tick)?;
        Self::from_passes(text, tokens, passes, readers, setting, tick)
    }

    /// The same from passes that have stopped at the readers' hook already.
    pub fn from_passes(
        text: &str,
        tokens: Vec<Token>,
        passes: Passes,
        readers: Vec<Reader>,
        setting: Setting,
        tick: Tick,
    ) -> Result<Self> {
        if !readers.iter().all(|reader| passes.is_for(reader)) {
            return Err(Error::invalid("these passes are of other models, or stopped at another hook"));
        }
        let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
        let mut counts: Vec<bool> = tokens.iter().map(|t| !t.special).collect();
        if !counts.contains(&true) {
            // Nothing but special tokens: they are all there is to measure.
            counts.fill(true);
        }
        let mut prompt = Self {
            text: text.into(),
            tokens: Arc::new(tokens),
            counts,
            ids,
            passes,
            readings: Vec::new(),
            setting,
            paths: None,
            between: None,
        };
        for reader in readers {
            tick()?;
            let x = reader.input(&prompt.passes.of(reader.variant).captured)?;
            let encoded = reader.encode(&x)?;
            let latents = Arc::new(encoded.latents()?.clone());
            let view = View { variant: reader.variant, latents, reconstruction: None, splice: None };
            prompt.readings.push(Reading { reader, x, encoded, view, spliced: None });
        }
        Ok(prompt)
    }

    /// Where its models stopped, to go on from to a later layer.
    pub fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Which tokens figures are over: those that are not special, unless all are.
    pub fn counts(&self) -> &[bool] {
        &self.counts
    }

    /// Every variant's results so far.
    pub fn views(&self) -> Vec<View> {
        self.readings.iter().map(|reading| reading.view.clone()).collect()
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Of the `pruned` variant.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// New latents of the `pruned` variant; its figures are due again, and the paths if it is another knob.
    pub fn set_pruning(&mut self, pruning: Pruning) -> Result<()> {
        if pruning.order.knob != self.setting.knob {
            self.paths = None;
        }
        self.setting = pruning.setting();
        if let Some(reading) = self.readings.iter_mut().find(|r| r.view.variant == Variant::Pruned) {
            reading.reader.pruning = Some(pruning);
            let encoded = reading.reader.encode(&reading.x)?;
            let latents = Arc::new(encoded.latents()?.clone());
            reading.encoded = encoded;
            reading.view = View { variant: Variant::Pruned, latents, reconstruction: None, splice: None };
            reading.spliced = None;
        }
        Ok(())
    }

    /// Reconstruction figures of every variant that lacks them.
    pub fn reconstruct(&mut self, tick: Tick) -> Result<()> {
        for reading in self.readings.iter_mut().filter(|r| r.view.reconstruction.is_none()) {
            tick()?;
            let recon = reading.reader.decode(&reading.encoded)?;
            let (ops, latents) = (&*reading.reader.model.ops, reading.encoded.latents()?);
            let figures = figures::reconstruction(ops, &reading.x, &recon, latents, &self.counts)?;
            reading.view.reconstruction = Some(figures);
        }
        Ok(())
    }

    /// Both models' passes to the end, with all logits.
    pub fn finish_passes(&mut self, tick: Tick) -> Result<()> {
        let targets = next_tokens(std::slice::from_ref(&self.ids));
        for variant in self.readings.iter().map(|reading| reading.view.variant) {
            self.passes.of_mut(variant).finish(&targets, tick)?;
        }
        Ok(())
    }

    /// Spliced figures of one variant that lacks them (the live one first); false when none does.
    pub fn splice_next(&mut self, tick: Tick) -> Result<bool> {
        self.finish_passes(tick)?;
        let lacking = |v: Variant| self.readings.iter().position(|r| r.view.variant == v && r.view.splice.is_none());
        let order = [Variant::Pruned, Variant::Transfer, Variant::Trained, Variant::Original];
        let Some(at) = order.into_iter().find_map(lacking) else { return Ok(false) };
        let reading = &self.readings[at];
        let pass = self.passes.of(reading.view.variant);
        let Some(clean) = &pass.clean else { return Ok(false) };
        let recon = reading.reader.decode(&reading.encoded)?;
        let replacement = reading.reader.replacement(&pass.captured, &recon)?;
        let last = reading.reader.model.resume(&pass.captured, &replacement, tick)?.flatten_to(1)?;
        let losses = clean.against(&reading.reader.model, &last, tick)?;
        let figures = SpliceFigures {
            ce_loss_without_sae: mean(clean.ce()),
            ce_loss_with_sae: mean(&losses.ce),
            kl_div_with_sae: mean(&losses.kl),
        };
        let reading = &mut self.readings[at];
        (reading.view.splice, reading.spliced) = (Some(figures), Some((last, losses)));
        Ok(true)
    }

    /// What a variant consists of: its reader, activations in the SAE's space, its model's pass, and that pass' end if it
    /// was gone to.
    pub(super) fn parts(&self, variant: Variant) -> Option<(&Reader, &Tensor, &Captured, Option<&CleanPass>)> {
        let reading = self.readings.iter().find(|r| r.view.variant == variant)?;
        let pass = self.passes.of(variant);
        Some((&reading.reader, &reading.x, &pass.captured, pass.clean.as_deref()))
    }

    /// A variant's reconstruction in its model, once it was put there: the residual stream after the last block, and losses.
    pub(super) fn spliced(&self, variant: Variant) -> Option<&(Tensor, TokenLosses)> {
        self.readings.iter().find(|r| r.view.variant == variant)?.spliced.as_ref()
    }

    /// Divergence of the pruned model from the original at every token, in nats; empty where there is one model.
    pub fn between_models(&mut self, tick: Tick) -> Result<Vec<f32>> {
        if let Some(between) = &self.between {
            return Ok(between.clone());
        }
        self.finish_passes(tick)?;
        let (Some(own), Some(pruned)) = (self.parts(Variant::Original), self.parts(Variant::Transfer)) else {
            return Ok(Vec::new());
        };
        let between = match (own, pruned) {
            ((a, _, _, Some(clean)), (b, _, _, Some(other))) if !Arc::ptr_eq(&a.model, &b.model) => {
                clean.divergence((&a.model, &b.model), other, tick)?
            }
            _ => Vec::new(),
        };
        self.between = Some(between.clone());
        Ok(between)
    }

    /// Logits `[tokens, vocabulary]` of a variant's model, untouched or with the variant's reconstruction spliced in.
    pub fn logits(&self, variant: Variant, spliced: bool, tick: Tick) -> Result<Option<Tensor>> {
        let Some(reading) = self.readings.iter().find(|r| r.view.variant == variant) else { return Ok(None) };
        let (pass, reader) = (self.passes.of(variant), &reading.reader);
        let last = if spliced {
            let recon = reader.decode(&reading.encoded)?;
            reader.model.resume(&pass.captured, &reader.replacement(&pass.captured, &recon)?, tick)?
        } else {
            reader.model.finish(&pass.captured, tick)?
        };
        Ok(Some(reader.model.logits(&last)?.flatten_to(1)?))
    }

    /// Activations in the SAE's space, latents and reconstruction of a variant.
    pub fn reading(&self, variant: Variant) -> Result<Option<(Tensor, &Encoded, Tensor)>> {
        let Some(reading) = self.readings.iter().find(|r| r.view.variant == variant) else { return Ok(None) };
        Ok(Some((reading.x.clone(), &reading.encoded, reading.reader.decode(&reading.encoded)?)))
    }

    /// Paths of the active latents of the shared dictionary against the current knob; nothing to do without a `pruned` variant.
    pub fn find_paths(&mut self) -> Result<()> {
        if self.paths.is_some() {
            return Ok(());
        }
        let reading = |v: Variant| self.readings.iter().find(|r| r.view.variant == v);
        let (Some(pruned), Some(unpruned)) =
            (reading(Variant::Pruned), reading(Variant::Transfer).or_else(|| reading(Variant::Original)))
        else {
            return Ok(());
        };
        let Some(pruning) = &pruned.reader.pruning else { return Ok(()) };
        let sae = &*pruned.reader.sae;
        let grid = PathGrid::new(sae, &pruning.order, &pruned.x, unpruned.encoded.latents()?)?;
        let paths = Arc::new(grid.paths(sae, &self.counts));
        self.paths = Some((grid, paths));
        Ok(())
    }

    /// Paths of what fires at the live setting and did not in the untouched SAE; they stay with the others.
    pub fn find_late_paths(&mut self, tick: Tick) -> Result<()> {
        let pruned = self.readings.iter().find(|r| r.view.variant == Variant::Pruned);
        let (Some(pruned), Some((grid, paths))) = (pruned, &mut self.paths) else { return Ok(()) };
        let Some(pruning) = &pruned.reader.pruning else { return Ok(()) };
        let latents = pruned.encoded.latents()?;
        let pairs: Vec<(usize, u32)> = (0..latents.rows())
            .flat_map(|token| latents.row(token).0.iter().map(move |latent| (token, *latent)))
            .filter(|(token, latent)| paths.get(*token, *latent).is_none())
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let found = grid.late(&pruned.reader.sae, &pruning.order, &pruned.x, &pairs, tick)?;
        Arc::make_mut(paths).add(pairs.into_iter().zip(found));
        Ok(())
    }

    /// Have the paths found anew, for timing.
    pub fn forget_paths(&mut self) {
        self.paths = None;
    }

    /// Have a variant's spliced figures computed anew, for timing.
    pub fn forget_splice(&mut self, variant: Variant) {
        self.readings.iter_mut().filter(|r| r.view.variant == variant).for_each(|r| r.view.splice = None);
    }

    /// One latent on one token: activation at each setting, and where it dies.
    pub fn curve(&self, token: usize, latent: u32) -> Result<Option<super::Curve>> {
        let pruned = self.readings.iter().find(|r| r.view.variant == Variant::Pruned);
        let (Some(pruned), Some((grid, _))) = (pruned, &self.paths) else { return Ok(None) };
        let Some(pruning) = &pruned.reader.pruning else { return Ok(None) };
        if token >= self.len() || latent as usize >= pruned.reader.sae.d_sae() {
            return Ok(None);
        }
        grid.curve(&pruned.reader.sae, &pruning.order, &pruned.x, token, latent).map(Some)
    }

    /// Everything known so far, as plain data.
    pub fn comparison(&self, matching: Option<&Matching>) -> Comparison {
        let views = self.views();
        let mut matches = HashMap::new();
        if let Some(matching) = matching {
            let shared = views.iter().filter(|v| v.variant != Variant::Trained);
            for latent in shared.flat_map(|v| v.latents.indices.iter()) {
                if let Some(found) = matching.get(*latent) {
                    matches.insert(*latent, found);
                }
            }
        }
        Comparison {
            prompt: self.text.clone(),
            hook: self.passes.hook().to_string(),
            setting: self.setting,
            tokens: self.tokens.clone(),
            views,
            paths: self.paths.as_ref().map(|(_, paths)| paths.clone()),
            matches: Arc::new(matches),
        }
    }
}
