//! What can be chosen about a RAVEL run, and what it costs.

use prunelens_core::{
    compare::Variant,
    data::entities::EntityClass,
    model::Model,
    sae::{Criterion, Dial},
    session::Session,
};
use serde::Deserialize;

use super::{
    RavelSpec,
    prompts::{measured, possible},
};
use crate::{
    Cost, Extent, Kind, Param,
    data::Data,
    params::{CRITERION, DATA, KNOB, RATIO, VARIANTS},
};

/// `None` is a default that suits the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RavelOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Entities; the session's own if none are named.
    pub data: Option<Data>,
    /// Most entities of a class.
    pub entities: Option<usize>,
    /// Most prompts asked of an entity class.
    pub prompts: Option<usize>,
    /// Most cause pairs of an attribute, and as many isolation pairs.
    pub pairs: Option<usize>,
    /// Passes over the pairs.
    pub epochs: Option<usize>,
    /// Pairs that are read together.
    pub batch: Option<usize>,
    /// Of all that is drawn.
    pub seed: Option<u64>,
    /// What is turned on the `pruned` variant\'s SAE. Default: as the session has it.
    pub knob: Option<Dial>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub ratio: Option<f64>,
    /// By which the SAE is pruned; default: the session's.
    pub criterion: Option<Criterion>,
}

/// What can be chosen.
pub const PARAMS: &[Param] = &[VARIANTS, DATA, ENTITIES, PROMPTS, PAIRS, EPOCHS, BATCH, SEED, KNOB, RATIO, CRITERION];

const ENTITIES: Param = Param {
    name: "entities",
    help: "Entities kept: those with the most prompts answered right [default: 500]",
    kind: Kind::Count { least: 2, most: 1 << 32 },
    default: |_| RavelSpec::default().top_n_entities.to_string(),
    of_session: false,
};

const PROMPTS: Param = Param {
    name: "prompts",
    help: "Prompts asked of each entity class, drawn from all [default: by the size of the model]",
    kind: Kind::Count { least: 1, most: 4_000_000 },
    default: |session| amounts(&session.models.original).0.to_string(),
    of_session: false,
};

const PAIRS: Param = Param {
    name: "pairs",
    help: "Pairs of prompts that must change for each attribute, and as many that must not [default: by the size of the model; SAEBench has 5000]",
    kind: Kind::Count { least: 1, most: 1_000_000 },
    default: |session| amounts(&session.models.original).1.to_string(),
    of_session: false,
};

const EPOCHS: Param = Param {
    name: "epochs",
    help: "Times that a mask is trained on each pair [default: 2]",
    kind: Kind::Count { least: 1, most: 1000 },
    default: |_| RavelSpec::default().num_epochs.to_string(),
    of_session: false,
};

const BATCH: Param = Param {
    name: "batch",
    help: "Pairs in a batch, each of which is a step of training [default: 8]",
    kind: Kind::Count { least: 1, most: 100_000 },
    default: |_| RavelSpec::default().llm_batch_size.to_string(),
    of_session: false,
};

const SEED: Param = Param {
    name: "seed",
    help: "Seed of what is drawn at random [default: 42]",
    kind: Kind::Count { least: 0, most: 1 << 53 },
    default: |_| RavelSpec::default().random_seed.to_string(),
    of_session: false,
};

/// Prompts asked of each class, and pairs of each attribute: some minutes' work on two cores.
pub fn amounts(model: &Model) -> (usize, usize) {
    match model.parameters() {
        0..20_000_000 => (8000, 1000),
        20_000_000..200_000_000 => (4000, 300),
        _ => (2000, 150),
    }
}

/// Tokens of a prompt that are not shared with others of its template, roughly.
const OWN_TOKENS: u64 = 12;

/// The work ahead.
pub fn cost(session: &Session, o: &RavelOptions, classes: &[EntityClass]) -> Cost {
    let spec = RavelSpec::default();
    let (most_prompts, most_pairs) = amounts(&session.models.original);
    let (most_prompts, most_pairs) = (o.prompts.unwrap_or(most_prompts), o.pairs.unwrap_or(most_pairs));
    let (mut prompts, mut pairs) = (0, 0);
    for class in classes {
        let attributes = measured(class);
        let asked = most_prompts.min(possible(class, &attributes));
        prompts += asked as u64;
        // Of both kinds. A prompt is changed at most once for each, if the model knows its answer.
        pairs += 2 * (attributes.len() as u64) * most_pairs.min(asked / attributes.len().max(1)) as u64;
    }
    let epochs = o.epochs.unwrap_or(spec.num_epochs) as f64;
    let Extent { variants, after, .. } = Extent::of(session, &o.variants);
    let config = &session.models.original.config;
    let tokens = prompts * (OWN_TOKENS + spec.n_generated_tokens as u64);
    // Of each variant, attribute and pair of both kinds: training with gradients behind the hook, then one answer.
    let train = spec.train_test_split * epochs * (1.0 + 2.0 * after);
    let test = (1.0 - spec.train_test_split) * 1.5;
    let pair_tokens = (pairs * OWN_TOKENS) as f64 * variants * (train + test);
    let batch = o.batch.unwrap_or(spec.llm_batch_size) as u64;
    Cost {
        tokens,
        passes: 1.0 + pair_tokens / tokens.max(1) as f64,
        shared: 0.0,
        encodings: 0.0,
        other: 0.0,
        // Shared beginnings, and what a batch leaves for its gradient.
        bytes: (512 << 20)
            + 4 * batch * OWN_TOKENS * (config.n_layers as u64) * (4 * config.d_model + 3 * config.d_mlp) as u64,
    }
}
