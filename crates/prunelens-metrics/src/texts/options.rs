//! What can be chosen about the metrics on labelled texts, and what they cost.

use prunelens_core::{
    compare::Variant,
    model::Model,
    sae::{Criterion, Dial},
    session::Session,
};
use serde::Deserialize;

use crate::{
    Kind, Param,
    data::Data,
    params::{self, CONTEXT_SIZE, CRITERION, DATA, KNOB, RATIO, VARIANTS},
};

/// `None` and nothing named are defaults that suit the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Data sets; the session's own if none are named.
    pub data: Option<Data>,
    /// All that are there, if none is named.
    pub datasets: Vec<String>,
    /// Numbers of latents that sparse probes read: 1, 2 and 5.
    #[serde(rename = "k")]
    pub k_values: Vec<usize>,
    /// Numbers of latents ablated for SCR and TPP: all that SAEBench has.
    #[serde(rename = "latents")]
    pub n_values: Vec<usize>,
    /// Texts for and against a class together.
    pub train_size: Option<usize>,
    /// Texts that probes are tested on; default: by the model's size.
    pub test_size: Option<usize>,
    /// Tokens of a text that are read.
    pub context: Option<usize>,
    /// Megabytes that summed-up texts may take; more goes to a temporary file.
    pub memory: Option<usize>,
    /// What is turned on the `pruned` variant\'s SAE. Default: as the session has it.
    pub knob: Option<Dial>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub ratio: Option<f64>,
    /// By which the SAE is pruned; default: the session's.
    pub criterion: Option<Criterion>,
}

/// The parameters of a family whose own numbers of latents are these.
pub const fn params(numbers: Param) -> [Param; 11] {
    [VARIANTS, DATA, DATASETS, numbers, TRAIN_SIZE, TEST_SIZE, CONTEXT, MEMORY_MB, KNOB, RATIO, CRITERION]
}

/// Megabytes for sums of texts, unless others are asked for.
pub const MEMORY: usize = 512;

const DATASETS: Param = Param {
    name: "datasets",
    help: "Data sets to measure on, by name, with commas between [default: all]",
    kind: Kind::Words,
    default: |_| String::new(),
    of_session: false,
};

const TRAIN_SIZE: Param = Param {
    name: "train-size",
    help: "Texts to train a probe on, half of its class [default: by the size of the model; SAEBench: 4000]",
    kind: Kind::Count { least: 8, most: 10_000_000 },
    default: |session| default_sizes(&session.models.original).0.to_string(),
    of_session: false,
};

const TEST_SIZE: Param = Param {
    name: "test-size",
    help: "Texts to test a probe with, half of its class [default: by the size of the model; SAEBench: 1000]",
    kind: Kind::Count { least: 8, most: 10_000_000 },
    default: |session| default_sizes(&session.models.original).1.to_string(),
    of_session: false,
};

const CONTEXT: Param = Param {
    help: "Tokens of a text that are read [default: 128, or the model's context if that is shorter; 64 on the demo's model]",
    default: |session| default_context(session).to_string(),
    ..CONTEXT_SIZE
};

const MEMORY_MB: Param = Param {
    name: "memory",
    help: "Memory for texts read, in MiB; what does not fit goes to a temporary file [default: 512]",
    kind: Kind::Count { least: 0, most: 1 << 30 },
    default: |_| MEMORY.to_string(),
    of_session: false,
};

/// Tokens of a text that are read, unless others are asked for. SCR and TPP count what an SAE makes of the zeros behind a
/// text's end; those built in have some 50 tokens, and would be zeros for the most part.
pub fn default_context(session: &Session) -> usize {
    match Data::of_session(session) {
        Some(Data::Demo) => 64,
        _ => params::default_context(session),
    }
}

/// Some minutes on two cores for four classes.
pub fn default_sizes(model: &Model) -> (usize, usize) {
    match model.parameters() {
        0..20_000_000 => (2000, 500),
        20_000_000..200_000_000 => (800, 400),
        _ => (400, 200),
    }
}
