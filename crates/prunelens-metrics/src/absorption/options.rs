//! What can be chosen about an absorption run, and what it costs.

use prunelens_core::{
    compare::Variant,
    model::Model,
    sae::{Criterion, Dial},
    session::Session,
};
use serde::Deserialize;

use super::LETTERS;
use crate::{
    Cost, Extent, Kind, Param,
    params::{CRITERION, KNOB, RATIO, VARIANTS},
};

/// `None` is a default that suits the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AbsorptionOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Most words of the vocabulary; 0 takes all, as SAEBench does.
    pub words: Option<usize>,
    /// Letters that must be told well enough. Default: SAEBench's 20.
    pub min_letters: Option<usize>,
    /// What is turned on the `pruned` variant\'s SAE. Default: as the session has it.
    pub knob: Option<Dial>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub ratio: Option<f64>,
    /// By which the SAE is pruned; default: the session's.
    pub criterion: Option<Criterion>,
}

/// What can be chosen.
pub const PARAMS: &[Param] = &[VARIANTS, WORDS, MIN_LETTERS, KNOB, RATIO, CRITERION];

const WORDS: Param = Param {
    name: "words",
    help: "Most words taken from the vocabulary, 0 for all [default: by the size of the model; SAEBench: all]",
    kind: Kind::Count { least: 0, most: 10_000_000 },
    default: |session| default_words(&session.models.original).to_string(),
    of_session: false,
};

const MIN_LETTERS: Param = Param {
    name: "min-letters",
    help: "Letters that the model must tell for there to be a result [default: 20, as SAEBench]",
    kind: Kind::Count { least: 1, most: LETTERS as u64 },
    default: |_| "20".into(),
    of_session: false,
};

/// Some ten minutes at most on two cores, whatever the model.
pub fn default_words(model: &Model) -> usize {
    match model.parameters() {
        0..20_000_000 => 4000,
        20_000_000..500_000_000 => 2000,
        _ => 1000,
    }
}

/// Tokens of a prompt: eleven lines of eight.
const PROMPT: u64 = 90;
/// Words of a large vocabulary, where all are asked for.
const MANY: u64 = 100_000;

/// The work ahead.
pub fn cost(session: &Session, o: &AbsorptionOptions) -> Cost {
    let words = match o.words.unwrap_or_else(|| default_words(&session.models.original)) {
        0 => MANY.min(session.models.original.config.d_vocab as u64),
        words => words as u64,
    };
    let Extent { variants, models, before, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as f64, session.sae.d_sae() as f64);
    let probes = 50.0 * 4.0 * LETTERS as f64 * words as f64;
    Cost {
        tokens: words * PROMPT,
        // A second prompt for the fifth that is tested.
        passes: 1.2 * models * before,
        shared: 1.2 * models * before,
        // One token a prompt.
        encodings: variants / (2 * PROMPT) as f64,
        // Probes on activations and, mostly on zeros, on latents; weights of all latents at each of their steps.
        other: probes * (models * d_in + variants * d_sae.min(500.0)) + variants * 50.0 * 20.0 * LETTERS as f64 * d_sae,
        bytes: (4.0 * words as f64 * (2.0 * d_in + 2.0 * d_sae.min(500.0)) + 16.0 * LETTERS as f64 * d_sae) as u64,
    }
}
