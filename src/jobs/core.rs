//! The core metric of a session as a job.

use std::path::{Path, PathBuf};

use super::{
    Cost, Family, Job, JobProgress, Kind, Param, Params, Step,
    params::{CRITERION, RATIO, TEXT, VARIANTS},
};
use crate::{
    compare::Variant,
    error::Result,
    metrics::{
        MetricTable,
        core::setup::{BATCH, CONTEXT, CoreMeasurement, CoreOptions, default_rows},
    },
    model::Tick,
    session::Session,
};

pub const FAMILY: Family = Family {
    name: "core",
    title: "Reconstruction, sparsity, and what the model's predictions lose (SAEBench's core)",
    params: &[VARIANTS, ROWS, CONTEXT_SIZE, BATCH_SIZE, RATIO, CRITERION, TEXT],
    cost,
    make: |session, params| Ok(Box::new(CoreJob::new(session, &options(session, params)?)?)),
};

pub(super) const ROWS: Param = Param {
    name: "rows",
    help: "Token rows to measure on [default: by the size of the model]",
    kind: Kind::Count { least: 1, most: 10_000_000 },
    default: |session| default_rows(&session.original).to_string(),
    of_session: false,
};

pub(super) const CONTEXT_SIZE: Param = Param {
    name: "context",
    help: "Tokens in a row [default: 128, or the model's context if that is shorter]",
    kind: Kind::Count { least: 2, most: 1 << 20 },
    default: |session| CONTEXT.min(session.original.config.n_ctx).to_string(),
    of_session: false,
};

pub(super) const BATCH_SIZE: Param = Param {
    name: "batch",
    help: "Rows in a batch; SAEBench's mse depends on it [default: 8]",
    kind: Kind::Count { least: 1, most: 100_000 },
    default: |_| BATCH.to_string(),
    of_session: false,
};

fn options(session: &Session, params: &Params) -> Result<CoreOptions> {
    Ok(CoreOptions {
        variants: params.variants()?,
        text: params.path(TEXT.name)?,
        rows: params.count(ROWS.name)?,
        context: params.count(CONTEXT_SIZE.name)?,
        batch: params.count(BATCH_SIZE.name)?,
        pruning: Some(params.pruning(session)?),
    })
}

fn cost(session: &Session, params: &Params) -> Result<Option<Cost>> {
    let o = options(session, params)?;
    let n_ctx = session.original.config.n_ctx;
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.original));
    let (context, batch) = (o.context.unwrap_or(CONTEXT.min(n_ctx)), o.batch.unwrap_or(BATCH).min(rows));
    let wanted = |v: &Variant| o.variants.is_empty() || o.variants.contains(v);
    let present = |v: &Variant| *v != Variant::Trained || session.trained.is_some();
    let variants: Vec<Variant> = Variant::ALL.into_iter().filter(|v| wanted(v) && present(v)).collect();
    let models = [false, true].into_iter().filter(|p| variants.iter().any(|v| v.on_pruned_model() == *p)).count();
    // A clean pass a model; ablated and spliced ones begin at the hook.
    let config = &session.original.config;
    let after = 1.0 - (session.hook.layer as f64 / config.n_layers.max(1) as f64).min(1.0);
    let n = variants.len() as f64;
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    let at_once = (batch * context) as u64;
    Ok(Some(Cost {
        tokens: (rows / batch.max(1) * batch * context) as u64,
        passes: models as f64 + after * (models as f64 + n),
        encodings: n,
        // Cosines of all latents with all others, for encoder and decoder.
        other: 2.0 * n * d_in as f64 * (d_sae as f64).powi(2),
        // A batch's activations and reconstructions; logits and pre-activations of the rows that go together.
        bytes: 4 * at_once * d_in * (2 + n as u64) + 4 * context as u64 * (4 * config.d_vocab as u64 + 2 * d_sae),
    }))
}

pub struct CoreJob(CoreMeasurement);

impl CoreJob {
    /// Prepare the rows and readers; nothing is run yet.
    pub fn new(session: &Session, options: &CoreOptions) -> Result<Self> {
        CoreMeasurement::new(session, options).map(Self)
    }
}

impl Job for CoreJob {
    fn name(&self) -> &'static str {
        "core"
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
