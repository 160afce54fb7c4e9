//! Metrics on labelled texts as jobs.

use std::path::{Path, PathBuf};

use super::{
    Cost, Family, Job, JobProgress, Kind, Param, Params, Step,
    core::CONTEXT_SIZE,
    params::{CRITERION, DATA, RATIO, VARIANTS},
};
use crate::{
    compare::Variant,
    error::Result,
    metrics::{
        Detail, MetricTable,
        core::setup::CONTEXT,
        scr_tpp::{Scr, Tpp},
        sparse_probing::SparseProbing,
        texts::{
            self, TextMeasurement, TextOptions,
            report::Layout,
            setup::{MEMORY, default_sizes, texts_ahead},
        },
    },
    model::Tick,
    session::Session,
};

pub const SPARSE_PROBING: Family = Family {
    name: "sparse_probing",
    title: "What one, two or five latents tell about the classes of texts",
    params: &[VARIANTS, DATA, DATASETS, K_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, false),
    make: |session, params| Ok(Box::new(sparse_probing(session, &options(session, params)?)?)),
};

pub const SCR: Family = Family {
    name: "scr",
    title: "Whether a probe loses a second label it should not go by when latents are ablated",
    params: &[VARIANTS, DATA, DATASETS, N_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, true),
    make: |session, params| Ok(Box::new(scr(session, &options(session, params)?)?)),
};

pub const TPP: Family = Family {
    name: "tpp",
    title: "Whether ablating a class's latents hurts its probe and no other",
    params: &[VARIANTS, DATA, DATASETS, N_VALUES, TRAIN_SIZE, TEST_SIZE, CONTEXT_SIZE, MEMORY_MB, RATIO, CRITERION],
    cost: |session, params| cost(session, params, false),
    make: |session, params| Ok(Box::new(tpp(session, &options(session, params)?)?)),
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
    let wanted = |v: &Variant| options.variants.is_empty() || options.variants.contains(v);
    let present = |v: &Variant| *v != Variant::Trained || session.trained.is_some();
    let variants: Vec<Variant> = Variant::ALL.into_iter().filter(|v| wanted(v) && present(v)).collect();
    let models = [false, true].into_iter().filter(|p| variants.iter().any(|v| v.on_pruned_model() == *p)).count();
    // Nothing after the hook is computed, and nothing is decoded.
    let before = ((session.hook.layer + 1) as f64 / session.original.config.n_layers.max(1) as f64).min(1.0);
    let n = variants.len() as f64;
    Ok(Some(Cost {
        tokens: (texts * context) as u64,
        passes: models as f64 * before,
        encodings: n / 2.0,
        // Probes: some hundred passes over the summed-up texts, most of whose latents are 0.
        other: n * 400.0 * texts as f64 * session.sae.d_sae() as f64 / 4.0,
        bytes: (options.memory.unwrap_or(MEMORY) as u64) << 20,
    }))
}

pub struct TextJob<F: texts::Family>(TextMeasurement<F>);

/// Prepare the texts and readers; nothing is run yet.
pub fn sparse_probing(session: &Session, options: &TextOptions) -> Result<TextJob<SparseProbing>> {
    TextMeasurement::sparse_probing(session, options).map(TextJob)
}

pub fn tpp(session: &Session, options: &TextOptions) -> Result<TextJob<Tpp>> {
    TextMeasurement::tpp(session, options).map(TextJob)
}

pub fn scr(session: &Session, options: &TextOptions) -> Result<TextJob<Scr>> {
    TextMeasurement::scr(session, options).map(TextJob)
}

impl<F: texts::Family + Layout> Job for TextJob<F> {
    fn name(&self) -> &'static str {
        self.0.run.family().name()
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        Ok(if self.0.run.step(tick)? { Step::More } else { Step::Done })
    }

    fn progress(&self) -> JobProgress {
        let (done, total) = self.0.run.progress();
        JobProgress { done: done as u64, total: total as u64, unit: "tokens", note: self.0.run.note() }
    }

    fn table(&self) -> MetricTable {
        self.0.table()
    }

    fn details(&self) -> Vec<Detail> {
        self.0.details()
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.0.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0.run.restore(state)
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        self.0.write(results)
    }
}
