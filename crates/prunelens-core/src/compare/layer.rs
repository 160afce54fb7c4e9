//! What one prompt looks like at one layer: the figures of a strip of all of them.

use super::{Variant, View};
use crate::sae::Setting;

/// Of a prompt at one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFigures {
    /// Of the block that the SAEs read, from 0.
    pub layer: usize,
    /// Where they read.
    pub hook: String,
    /// In a few words: "2k topk32".
    pub sae: String,
    /// Of the `pruned` variant.
    pub setting: Setting,
    /// (token, latent) pairs that are active in `original`, over the tokens that are not special.
    pub active: usize,
    /// Those present, in the order of [`Variant::ALL`].
    pub variants: Vec<(Variant, VariantFigures)>,
}

/// Of one variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariantFigures {
    /// `1 - sum |r|^2 / sum |x - mean x|^2`, over the tokens that are not special.
    pub explained_variance: f64,
    /// Mean number of active latents, over the same tokens.
    pub l0: f64,
    /// Cross-entropy with the reconstruction at the hook, in nats, at all positions.
    pub ce: f64,
    /// Divergence from the model's own distribution, with the reconstruction at the hook, in nats, at all positions.
    pub kl: f64,
    /// How many of the pairs that are active in `original` are active here; `None` for a dictionary of its own.
    pub survive: Option<usize>,
}

impl LayerFigures {
    /// From what every variant makes of the prompt. `counts` says which tokens are not special. `None` while a figure lacks.
    pub fn new(
        layer: usize,
        place: (String, String),
        setting: Setting,
        views: &[View],
        counts: &[bool],
    ) -> Option<Self> {
        let pairs = |view: &View, also: &dyn Fn(usize, u32) -> bool| -> usize {
            let tokens = counts.iter().enumerate().filter(|(_, counts)| **counts);
            tokens.map(|(at, _)| view.latents.row(at).0.iter().filter(|latent| also(at, **latent)).count()).sum()
        };
        let original = views.iter().find(|view| view.variant == Variant::Original)?;
        let figures = |view: &View| {
            let (fits, put) = (view.reconstruction?, view.splice?);
            let alive = |at: usize, latent: u32| view.latents.row(at).0.binary_search(&latent).is_ok();
            Some((
                view.variant,
                VariantFigures {
                    explained_variance: fits.explained_variance,
                    l0: fits.l0,
                    ce: put.ce_loss_with_sae,
                    kl: put.kl_div_with_sae,
                    survive: (view.variant != Variant::Trained).then(|| pairs(original, &alive)),
                },
            ))
        };
        let (hook, sae) = place;
        let variants = views.iter().map(figures).collect::<Option<Vec<_>>>()?;
        Some(Self { layer, hook, sae, setting, active: pairs(original, &|_, _| true), variants })
    }

    /// Of a variant, if it is there.
    pub fn of(&self, variant: Variant) -> Option<&VariantFigures> {
        self.variants.iter().find(|(of, _)| *of == variant).map(|(_, figures)| figures)
    }

    /// The share of the original's pairs that are active in a variant too.
    pub fn share(&self, variant: Variant) -> Option<f64> {
        let survive = self.of(variant)?.survive?;
        (self.active > 0).then(|| survive as f64 / self.active as f64)
    }
}
