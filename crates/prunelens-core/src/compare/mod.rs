//! One prompt through every variant, as plain data: what the panels, `inspect` and the exports all show.

mod align;
mod apply;
pub mod edited;
pub mod figures;
mod layer;
pub mod logit_lens;
pub mod matching;
mod passes;
pub mod path;
pub mod predict;
pub mod prompt;
pub mod reader;
pub mod redundancy;
pub mod splice;
pub mod variant;

use std::{collections::HashMap, sync::Arc};

pub use align::align;
pub use apply::apply;
pub use layer::{LayerFigures, VariantFigures};
pub use passes::Passes;
pub use prompt::Prompt;
pub use reader::Reader;
pub use variant::Variant;

pub use crate::sae::GRID;
use crate::sae::{Knob, Latents, Setting};

/// One token of the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: u32,
    /// The exact bytes it stands for; may be part of a character, may hold control characters: escape before showing.
    pub piece: Vec<u8>,
    /// BOS, EOS or padding: left out of reconstruction figures.
    pub special: bool,
}

/// A prompt compared. Parts arrive in this order: latents, reconstruction figures, spliced figures, paths.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The text as it was read.
    pub prompt: String,
    /// Where the SAE reads.
    pub hook: String,
    /// Of the `pruned` variant.
    pub setting: Setting,
    /// What the text consists of.
    pub tokens: Arc<Vec<Token>>,
    /// Those present, in the order of [`Variant::ALL`].
    pub views: Vec<View>,
    /// Activation against the knob, once it is known.
    pub paths: Option<Arc<Paths>>,
    /// For latents of the shared dictionary that fire here: their best match in `trained`.
    pub matches: Arc<HashMap<u32, Match>>,
}

impl Comparison {
    /// What one variant makes of the prompt, if it is part of the session.
    pub fn view(&self, variant: Variant) -> Option<&View> {
        self.views.iter().find(|v| v.variant == variant)
    }
}

/// How many latents fire, and what became of those that did: (token, latent) pairs of the shared dictionary, over the
/// tokens that are not special.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Active in `original`, in `transfer` and in `pruned`.
    pub original: usize,
    /// The same on the pruned model, with the SAE as it was.
    pub transfer: usize,
    /// The same with the SAE at the setting of its knob.
    pub pruned: usize,
    /// Active in `original`, silent in `transfer`: lost to the pruning of the model.
    pub lost_to_model: usize,
    /// Active in `transfer`, silent in `pruned`: lost to the pruning of the SAE.
    pub lost_to_sae: usize,
    /// Silent in `original`, active in `transfer`.
    pub new_on_model: usize,
}

impl Comparison {
    /// `None` unless all three variants are there.
    pub fn fates(&self) -> Option<Fates> {
        let [original, transfer, pruned] =
            [Variant::Original, Variant::Transfer, Variant::Pruned].map(|v| self.view(v));
        let (original, transfer, pruned) = (original?, transfer?, pruned?);
        let mut fates = Fates::default();
        for (at, _) in self.tokens.iter().enumerate().filter(|(_, token)| !token.special) {
            let [before, on_model, after] = [original, transfer, pruned].map(|view| view.latents.row(at).0);
            // Rows ascend.
            let lost =
                |from: &[u32], to: &[u32]| from.iter().filter(|latent| to.binary_search(latent).is_err()).count();
            fates.original += before.len();
            fates.transfer += on_model.len();
            fates.pruned += after.len();
            fates.lost_to_model += lost(before, on_model);
            fates.lost_to_sae += lost(on_model, after);
            fates.new_on_model += lost(on_model, before);
        }
        Some(fates)
    }
}

/// What one variant makes of the prompt.
#[derive(Clone, Debug)]
pub struct View {
    /// Which model and which SAE.
    pub variant: Variant,
    /// What fires on each token.
    pub latents: Arc<Latents>,
    /// How good the reconstruction is, once it is known.
    pub reconstruction: Option<ReconstructionFigures>,
    /// What the reconstruction does to the model, once it is known.
    pub splice: Option<SpliceFigures>,
}

/// Over the tokens that are not special; the activation is `x`, the error `r`, `N` tokens of width `d_in`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReconstructionFigures {
    /// Mean number of active latents.
    pub l0: f64,
    /// `sum r^2 / (N d_in)`.
    pub mse: f64,
    /// `1 - sum |r|^2 / sum |x - mean x|^2`.
    pub explained_variance: f64,
    /// Mean cosine of `x` and its reconstruction.
    pub cossim: f64,
}

/// With the reconstruction put at the hook of the variant's own model, in nats, at all positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpliceFigures {
    /// Cross-entropy of the variant's own model.
    pub ce_loss_without_sae: f64,
    /// The same with the reconstruction at the hook.
    pub ce_loss_with_sae: f64,
    /// Divergence from the model's own distribution, with the reconstruction at the hook.
    pub kl_div_with_sae: f64,
}

/// Activation against the knob, for every latent of the shared dictionary that fires in `transfer` (on the pruned model)
/// or would fire in `pruned` with the SAE untouched, which is the same set; and for those that fired at a setting that was
/// looked at.
#[derive(Clone, Debug)]
pub struct Paths {
    /// What is turned.
    pub knob: Knob,
    /// The settings, at most [`GRID`], from the untouched SAE on.
    pub grid: Vec<f64>,
    /// Share of the prompt's active (token, latent) pairs still active, at each setting of the grid; the first is 1.
    pub survival: Vec<f64>,
    /// How many pairs are active with the SAE untouched.
    pub active: usize,
    /// Per token: active latents with the SAE untouched and those that were seen to fire at another setting, ascending, and
    /// their activation at each setting of the grid; zeros beyond it.
    pub rows: Vec<Vec<(u32, [f32; GRID])>>,
}

impl Paths {
    /// Activations of a latent on a token, at each setting of the grid.
    pub fn get(&self, token: usize, latent: u32) -> Option<&[f32]> {
        let row = self.rows.get(token)?;
        let path = row.binary_search_by_key(&latent, |(l, _)| *l).ok().map(|at| &row[at].1)?;
        path.get(..self.grid.len())
    }

    /// Paths of `(token, latent)` pairs that have none yet.
    fn add(&mut self, found: impl Iterator<Item = ((usize, u32), [f32; GRID])>) {
        for ((token, latent), path) in found {
            let row = &mut self.rows[token];
            row.insert(row.partition_point(|(l, _)| *l < latent), (latent, path));
        }
    }
}

/// Best match of a latent in another dictionary by cosine of decoder rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// In the other dictionary.
    pub latent: u32,
    /// Of the decoder rows.
    pub cosine: f32,
    /// Each is the other's best match.
    pub mutual: bool,
}

/// (setting, activation) at each setting of a curve, and the setting from which the latent stays silent.
pub type Curve = (Vec<(f64, f32)>, Option<f64>);

/// Everything about one latent at one token that the detail panel shows.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentDetail {
    /// In the shared dictionary.
    pub latent: u32,
    /// Position in the prompt.
    pub token: usize,
    /// What is turned along the curve.
    pub knob: Knob,
    /// (setting, activation) of the SAE at that setting, on the pruned model at this token; from the untouched SAE on.
    pub curve: Vec<(f64, f32)>,
    /// The setting from which it no longer fires on this token; `None` if it never fired or never dies.
    pub dies_at: Option<f64>,
    /// Its match in the trained SAE's dictionary, where there is one and it is known.
    pub matched: Option<Match>,
    /// Tokens whose logits its decoder direction raises most: raw piece bytes and the logit per unit of activation.
    pub promotes: Vec<(Vec<u8>, f32)>,
    /// Tokens whose logits its decoder direction lowers most.
    pub suppresses: Vec<(Vec<u8>, f32)>,
    /// Firing rate on the calibration text, original model and SAE.
    pub density: Option<f64>,
    /// Largest activation on the calibration text.
    pub max_activation: Option<f32>,
    /// Texts of the calibration set on which it is most active.
    pub examples: Vec<Example>,
}

/// A short text around the token on which a latent is most active.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Text before the token.
    pub before: Vec<u8>,
    /// The token's own text.
    pub token: Vec<u8>,
    /// Text after it.
    pub after: Vec<u8>,
    /// Of the latent on the token.
    pub activation: f32,
}
