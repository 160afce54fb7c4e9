//! RAVEL in the list of families: what can be chosen, and what it costs.

use prunelens_core::{error::Result, session::Session};

use crate::{
    Cost, Extent, Family, Kind, Param, Params,
    params::{CRITERION, DATA, RATIO, VARIANTS},
    ravel::{
        RavelSpec,
        job::{RavelJob, RavelOptions, amounts},
    },
};

pub const FAMILY: Family = Family {
    name: "ravel",
    title: "Attributes of entities changed one at a time through the latents (RAVEL)",
    params: &[VARIANTS, DATA, ENTITIES, PROMPTS, PAIRS, EPOCHS, BATCH, SEED, RATIO, CRITERION],
    cost,
    make: |session, params| Ok(Box::new(RavelJob::new(session, &options(session, params)?)?)),
};

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
    default: |session| amounts(&session.original).0.to_string(),
    of_session: false,
};

const PAIRS: Param = Param {
    name: "pairs",
    help: "Pairs of prompts that must change for each attribute, and as many that must not [default: by the size of the model; SAEBench has 5000]",
    kind: Kind::Count { least: 1, most: 1_000_000 },
    default: |session| amounts(&session.original).1.to_string(),
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

fn options(session: &Session, params: &Params) -> Result<RavelOptions> {
    Ok(RavelOptions {
        variants: params.variants()?,
        data: params.path(DATA.name)?,
        entities: params.count(ENTITIES.name)?,
        prompts: params.count(PROMPTS.name)?,
        pairs: params.count(PAIRS.name)?,
        epochs: params.count(EPOCHS.name)?,
        batch: params.count(BATCH.name)?,
        seed: params.count(SEED.name)?.map(|seed| seed as u64),
        pruning: Some(params.pruning(session)?),
    })
}

/// Tokens of a prompt that are not shared with others of its template, roughly.
const OWN_TOKENS: u64 = 12;
/// Attributes of a class, roughly.
const ATTRIBUTES: u64 = 3;

fn cost(session: &Session, params: &Params) -> Result<Option<Cost>> {
    let o = options(session, params)?;
    let spec = RavelSpec::default();
    let (prompts, pairs) = amounts(&session.original);
    let (prompts, pairs) = (o.prompts.unwrap_or(prompts) as u64, o.pairs.unwrap_or(pairs) as u64);
    let epochs = o.epochs.unwrap_or(spec.num_epochs) as f64;
    let Extent { variants, after, .. } = Extent::of(session, &o.variants);
    let config = &session.original.config;
    let tokens = prompts * (OWN_TOKENS + spec.n_generated_tokens as u64);
    // Of each variant, attribute and pair of both kinds: training with gradients behind the hook, then one answer.
    let train = spec.train_test_split * epochs * (1.0 + 2.0 * after);
    let test = (1.0 - spec.train_test_split) * 1.5;
    let pair_tokens = (2 * pairs * ATTRIBUTES * OWN_TOKENS) as f64 * variants * (train + test);
    let batch = o.batch.unwrap_or(spec.llm_batch_size) as u64;
    Ok(Some(Cost {
        tokens,
        passes: 1.0 + pair_tokens / tokens.max(1) as f64,
        encodings: 0.0,
        other: 0.0,
        // Shared beginnings, and what a batch leaves for its gradient.
        bytes: (512 << 20)
            + 4 * batch * OWN_TOKENS * (config.n_layers as u64) * (4 * config.d_model + 3 * config.d_mlp) as u64,
    }))
}
