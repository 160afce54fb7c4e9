//! The metrics on labelled texts in the list of families: what can be chosen, and what they cost.

use prunelens_core::{error::Result, session::Session};

use crate::{
    Cost, Extent, Family, Kind, Param, Params,
    core::{family::CONTEXT_SIZE, job::CONTEXT},
    params::{CRITERION, DATA, RATIO, VARIANTS},
    texts::{
        TextJob, TextOptions,
        job::{MEMORY, default_sizes, texts_ahead},
    },
};

pub const SPARSE_PROBING: Family = Family {
    name: "sparse_probing",
    title: "What one, two or five latents tell about the classes of texts",
    params: &[VARIANTS, DATA, DATASETS, K_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, false),
    make: |session, params| Ok(Box::new(TextJob::sparse_probing(session, &options(session, params)?)?)),
};

pub const SCR: Family = Family {
    name: "scr",
    title: "Whether a probe loses a second label it should not go by when latents are ablated",
    params: &[VARIANTS, DATA, DATASETS, N_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, true),
    make: |session, params| Ok(Box::new(TextJob::scr(session, &options(session, params)?)?)),
};

pub const TPP: Family = Family {
    name: "tpp",
    title: "Whether ablating a class's latents hurts its probe and no other",
    params: &[VARIANTS, DATA, DATASETS, N_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, false),
    make: |session, params| Ok(Box::new(TextJob::tpp(session, &options(session, params)?)?)),
};

const DATASETS: Param = Param {
    name: "datasets",
    help: "Data sets to measure on, by name, with commas between [default: all]",
    kind: Kind::Words,
    default: |_| String::new(),
    of_session: false,
};

const K_VALUES: Param = Param {
    name: "k",
    help: "Numbers of latents that a probe reads, of 1,2,5,10,20,50,100 [default: 1,2,5]",
    kind: Kind::Counts { least: 1, most: 100 },
    default: |_| "1,2,5".into(),
    of_session: false,
};

const N_VALUES: Param = Param {
    name: "latents",
    help: "Numbers of latents to ablate, of 2,5,10,20,50,100,500 [default: all]",
    kind: Kind::Counts { least: 2, most: 500 },
    default: |_| "2,5,10,20,50,100,500".into(),
    of_session: false,
};

const TRAIN_SIZE: Param = Param {
    name: "train-size",
    help: "Texts to train a probe on, half of its class [default: by the size of the model; SAEBench: 4000]",
    kind: Kind::Count { least: 8, most: 10_000_000 },
    default: |session| default_sizes(&session.original).0.to_string(),
    of_session: false,
};

const TEST_SIZE: Param = Param {
    name: "test-size",
    help: "Texts to test a probe with, half of its class [default: by the size of the model; SAEBench: 1000]",
    kind: Kind::Count { least: 8, most: 10_000_000 },
    default: |session| default_sizes(&session.original).1.to_string(),
    of_session: false,
};

const MEMORY_MB: Param = Param {
    name: "memory",
    help: "Memory for texts read, in MB; what does not fit goes to a temporary file [default: 512]",
    kind: Kind::Count { least: 0, most: 1 << 30 },
    default: |_| MEMORY.to_string(),
    of_session: false,
};

fn options(session: &Session, params: &Params) -> Result<TextOptions> {
    Ok(TextOptions {
        variants: params.variants()?,
        data: params.path(DATA.name)?,
        datasets: params.words(DATASETS.name)?.unwrap_or_default(),
        k_values: params.counts(K_VALUES.name)?.unwrap_or_default(),
        n_values: params.counts(N_VALUES.name)?.unwrap_or_default(),
        train_size: params.count(TRAIN_SIZE.name)?,
        test_size: params.count(TEST_SIZE.name)?,
        context: params.count(CONTEXT_SIZE.name)?,
        memory: params.count(MEMORY_MB.name)?,
        pruning: Some(params.pruning(session)?),
    })
}

fn cost(session: &Session, params: &Params, scr: bool) -> Result<Option<Cost>> {
    let options = options(session, params)?;
    let texts = texts_ahead(session, &options, scr)?;
    let context = options.context.unwrap_or(CONTEXT.min(session.original.config.n_ctx));
    let Extent { variants, models, before, .. } = Extent::of(session, &options.variants);
    Ok(Some(Cost {
        tokens: (texts * context) as u64,
        // Nothing after the hook is computed, and nothing is decoded.
        passes: models * before,
        encodings: variants / 2.0,
        // Probes: some hundred passes over the summed-up texts, most of whose latents are 0.
        other: variants * 400.0 * texts as f64 * session.sae.d_sae() as f64 / 4.0,
        bytes: (options.memory.unwrap_or(MEMORY) as u64) << 20,
    }))
}
