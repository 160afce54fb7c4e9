//! The absorption metric of a session as a job.

use std::path::{Path, PathBuf};

use super::{
    Cost, Family, Job, JobProgress, Kind, Param, Params, Step,
    params::{CRITERION, RATIO, VARIANTS},
};
use crate::{
    compare::Variant,
    error::Result,
    metrics::{
        Detail, MetricTable,
        absorption::{
            LETTERS,
            setup::{AbsorptionMeasurement, AbsorptionOptions, default_words},
        },
    },
    model::Tick,
    session::Session,
};

pub const FAMILY: Family = Family {
    name: "absorption",
    title: "Words on which other latents stand in for their first letter's own (SAEBench's absorption)",
    params: &[VARIANTS, WORDS, MIN_LETTERS, RATIO, CRITERION],
    cost,
    make: |session, params| Ok(Box::new(AbsorptionJob::new(session, &options(session, params)?)?)),
};

const WORDS: Param = Param {
    name: "words",
    help: "Most words taken from the vocabulary, 0 for all [default: by the size of the model; SAEBench: all]",
    kind: Kind::Count { least: 0, most: 10_000_000 },
    default: |session| default_words(&session.original).to_string(),
    of_session: false,
};

const MIN_LETTERS: Param = Param {
    name: "min-letters",
    help: "Letters that the model must tell for there to be a result [default: 20, as SAEBench]",
    kind: Kind::Count { least: 1, most: LETTERS as u64 },
    default: |_| "20".into(),
    of_session: false,
};

fn options(session: &Session, params: &Params) -> Result<AbsorptionOptions> {
    Ok(AbsorptionOptions {
        variants: params.variants()?,
        words: params.count(WORDS.name)?,
        min_letters: params.count(MIN_LETTERS.name)?,
        pruning: Some(params.pruning(session)?),
    })
}

/// Tokens of a prompt: eleven lines of eight.
const PROMPT: u64 = 90;
/// Words of a large vocabulary, where all are asked for.
const MANY: u64 = 100_000;

fn cost(session: &Session, params: &Params) -> Result<Option<Cost>> {
    let o = options(session, params)?;
    let words = match o.words.unwrap_or_else(|| default_words(&session.original)) {
        0 => MANY.min(session.original.config.d_vocab as u64),
        words => words as u64,
    };
    let wanted = |v: &Variant| o.variants.is_empty() || o.variants.contains(v);
    let present = |v: &Variant| *v != Variant::Trained || session.trained.is_some();
    let variants: Vec<Variant> = Variant::ALL.into_iter().filter(|v| wanted(v) && present(v)).collect();
    let models = [false, true].into_iter().filter(|p| variants.iter().any(|v| v.on_pruned_model() == *p)).count();
    let before = ((session.hook.layer + 1) as f64 / session.original.config.n_layers.max(1) as f64).min(1.0);
    let (n, d_in, d_sae) = (variants.len() as f64, session.sae.d_in() as f64, session.sae.d_sae() as f64);
    let probes = 50.0 * 4.0 * LETTERS as f64 * words as f64;
    Ok(Some(Cost {
        tokens: words * PROMPT,
        // A second prompt for the fifth that is tested.
        passes: 1.2 * models as f64 * before,
        // One token a prompt.
        encodings: n / (2 * PROMPT) as f64,
        // Probes on activations and, mostly on zeros, on latents; weights of all latents at each of their steps.
        other: probes * (models as f64 * d_in + n * d_sae.min(500.0)) + n * 50.0 * 20.0 * LETTERS as f64 * d_sae,
        bytes: (4.0 * words as f64 * (2.0 * d_in + 2.0 * d_sae.min(500.0)) + 16.0 * LETTERS as f64 * d_sae) as u64,
    }))
}

pub struct AbsorptionJob(AbsorptionMeasurement);

impl AbsorptionJob {
    /// Prepare the readers; words are chosen in the first step.
    pub fn new(session: &Session, options: &AbsorptionOptions) -> Result<Self> {
        AbsorptionMeasurement::new(session, options).map(Self)
    }
}

impl Job for AbsorptionJob {
    fn name(&self) -> &'static str {
        "absorption"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        Ok(if self.0.run.step(tick)? { Step::More } else { Step::Done })
    }

    fn progress(&self) -> JobProgress {
        let (done, total) = self.0.run.progress();
        JobProgress { done: done as u64, total: total as u64, unit: "prompts", note: self.0.run.note() }
    }

    fn table(&self) -> MetricTable {
        self.0.table()
    }

    fn details(&self) -> Vec<Detail> {
        self.0.run.details()
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
