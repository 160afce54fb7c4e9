//! The comparison on screen, with the last figures known for what has not come yet.

use std::sync::Arc;

use prunelens_core::compare::{Comparison, Fates, Paths, ReconstructionFigures, SpliceFigures, Variant};

use crate::tui::state::Target;

/// Where figures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// To the clipboard.
    Copy,
    Files,
}

/// A value and what it was measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated<T> {
    pub value: T,
    pub of: Target,
}

impl<T> Dated<T> {
    /// Whether the value still holds for a variant: only `pruned` depends on the knob.
    pub fn is_fresh(&self, variant: Variant, target: &Target) -> bool {
        self.of.prompt == target.prompt && (variant != Variant::Pruned || self.of == *target)
    }
}

#[derive(Clone, Debug)]
pub struct Shown {
    pub generation: u64,
    pub comparison: Arc<Comparison>,
    pub of: Target,
    /// What became of the pairs of token and latent that fire.
    pub fates: Option<Fates>,
    /// Nothing follows.
    pub complete: bool,
    /// In the order of [`Variant::ALL`].
    pub reconstruction: [Option<Dated<ReconstructionFigures>>; 4],
    pub splice: [Option<Dated<SpliceFigures>>; 4],
    /// Paths, for the prompt and knob they hold for.
    pub paths: Option<Arc<Paths>>,
    pub paths_of: Target,
}

impl Shown {
    /// A newly arrived comparison, with what it lacks taken from the one before.
    pub fn new(generation: u64, comparison: Arc<Comparison>, complete: bool, before: Option<Self>) -> Self {
        let of = Target { prompt: comparison.prompt.as_str().into(), setting: comparison.setting };
        // Parts of one answer have the same latents.
        let known = before.as_ref().filter(|before| before.of == of).and_then(|before| before.fates);
        let (mut reconstruction, mut splice, mut paths, mut paths_of) = match before {
            Some(b) => (b.reconstruction, b.splice, b.paths, b.paths_of),
            None => ([None, None, None, None], [None, None, None, None], None, of.clone()),
        };
        for view in &comparison.views {
            let at = view.variant as usize;
            if let Some(value) = view.reconstruction {
                reconstruction[at] = Some(Dated { value, of: of.clone() });
            }
            if let Some(value) = view.splice {
                splice[at] = Some(Dated { value, of: of.clone() });
            }
        }
        if let Some(new) = &comparison.paths {
            paths = Some(new.clone());
            paths_of = of.clone();
        }
        let fates = known.or_else(|| comparison.fates());
        Self { generation, comparison, of, fates, complete, reconstruction, splice, paths, paths_of }
    }

    /// Figures of a variant are of another SAE from now on.
    pub fn forget(&mut self, variant: Variant) {
        (self.reconstruction[variant as usize], self.splice[variant as usize]) = (None, None);
    }

    /// Whether latents of a variant on screen belong to the target.
    pub fn is_fresh(&self, variant: Variant, target: &Target) -> bool {
        self.of.prompt == target.prompt && (variant != Variant::Pruned || self.of == *target)
    }

    /// Paths that hold for the prompt of this comparison.
    pub fn current_paths(&self) -> Option<&Paths> {
        self.paths.as_deref().filter(|_| self.paths_of.prompt == self.of.prompt)
    }

    pub fn paths_fresh(&self, target: &Target) -> bool {
        self.paths_of.prompt == target.prompt && self.paths_of.setting.knob == target.setting.knob
    }

    /// Activations of a latent of the shared dictionary along the prompt; `trained` has a dictionary of its own.
    pub fn activations(&self, variant: Variant, latent: u32) -> Option<Vec<f32>> {
        let view = self.comparison.view(variant)?;
        Some((0..self.comparison.tokens.len()).map(|t| view.latents.get(t, latent)).collect())
    }

    /// The largest activation of a latent on tokens that are not special, over original and pruned.
    pub fn strongest(&self, latent: u32) -> f32 {
        let views = [Variant::Original, Variant::Pruned].map(|v| self.activations(v, latent));
        let ordinary = |t: &usize| self.comparison.tokens.get(*t).is_some_and(|token| !token.special);
        views
            .iter()
            .flatten()
            .flat_map(|row| row.iter().enumerate().filter(|(t, _)| ordinary(t)).map(|(_, &v)| v))
            .fold(0.0, f32::max)
    }

    /// Tokens that are not special.
    pub fn ordinary(&self) -> Vec<usize> {
        self.comparison.tokens.iter().enumerate().filter(|(_, token)| !token.special).map(|(at, _)| at).collect()
    }

    /// Whether a latent fires anywhere in the prompt.
    pub fn fires(&self, latent: u32) -> bool {
        self.comparison
            .views
            .iter()
            .filter(|v| v.variant != Variant::Trained)
            .any(|v| v.latents.indices.contains(&latent))
    }
}
