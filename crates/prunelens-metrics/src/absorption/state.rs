//! What a run has done so far: all that it needs to go on in another process.

use prunelens_core::compare::Reader;
use serde::{Deserialize, Serialize};

use super::{LETTERS, calculator::WordAbsorption, probe::Training, prompts::Prompts, sparse::LetterProbes};

/// All that a run goes on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// Of the prompts that the rest belongs to; 0 before they are made.
    pub digest: u64,
    pub models: Vec<ModelWork>,
    pub variants: Vec<VariantWork>,
}

/// What the readers of one model share.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelWork {
    /// Activations at the words, training words first.
    pub x: Vec<f32>,
    pub training: Option<Training>,
    pub trained: bool,
    /// Activations of the second prompts of `known_words()`.
    pub again: Vec<f32>,
}

/// What is a variant's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VariantWork {
    pub training: Option<Training>,
    pub trained: bool,
    /// By letter, as far as they are trained.
    pub letters: Vec<LetterProbes>,
    /// F1 by letter and number of latents.
    pub f1: Vec<Vec<f64>>,
    /// Of the second prompts, as far as they are done.
    pub words: Vec<WordAbsorption>,
}

impl Work {
    /// Whether it can be that of a run on these prompts, by models of these widths and these readers.
    pub fn fits(&self, prompts: &Prompts, widths: &[usize], readers: &[Reader]) -> bool {
        let fits = |probe: &Option<Training>, width: usize| probe.as_ref().is_none_or(|t| t.probe.width() == width);
        let models = self.models.iter().zip(widths).all(|(model, &width)| {
            model.x.len() <= prompts.rows.len() * width
                && (!model.trained || model.x.len() == prompts.rows.len() * width)
                && fits(&model.training, width)
        });
        let variants = self.variants.iter().zip(readers).all(|(variant, reader)| {
            let d_sae = reader.sae.d_sae() as u32;
            let known = |letter: &LetterProbes| letter.latents.iter().all(|latent| *latent < d_sae);
            let even = variant.letters.len() == variant.f1.len() && variant.letters.len() <= LETTERS;
            even && variant.letters.iter().all(known) && fits(&variant.training, d_sae as usize)
        });
        prompts.digest == self.digest && models && variants
    }

    /// That of some models and variants alone.
    pub fn of(&self, models: impl Iterator<Item = usize>, variants: &[usize]) -> Self {
        Self {
            digest: self.digest,
            models: models.map(|group| self.models[group].clone()).collect(),
            variants: variants.iter().map(|&at| self.variants[at].clone()).collect(),
        }
    }
}
