//! A core job on what a session has loaded: which variants, which text, how many rows, what the files are called.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use prunelens_core::{
    compare::Variant,
    data::{Corpus, read_corpus},
    demo,
    error::{Error, Result},
    model::{Model, Tick},
    prune::Criterion,
    session::Session,
    text::safe,
};

use super::{CoreRun, CoreSpec, report::result_file};
use crate::{
    MetricTable,
    job::{Job, JobProgress, Step},
    report::{Identity, RunStamp, write_results},
    subjects::{Names, readers},
};

/// What can be chosen about a core run; `None` is a default that suits the model and two CPU cores.
#[derive(Clone, Debug, Default)]
pub struct CoreOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Default: the session's text, else the built-in held-out text.
    pub text: Option<PathBuf>,
    pub rows: Option<usize>,
    pub context: Option<usize>,
    pub batch: Option<usize>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub pruning: Option<(f64, Criterion)>,
}

/// A run with the names of its results.
pub struct CoreJob {
    pub run: CoreRun,
    /// In the order of the run's readers.
    identities: Vec<Identity>,
    models: Vec<(String, String)>,
}

pub const CONTEXT: usize = 128;
pub const BATCH: usize = 8;

impl CoreJob {
    pub fn new(session: &Session, options: &CoreOptions) -> Result<Self> {
        let (ratio, criterion) = options.pruning.unwrap_or((session.spec.ratio, session.spec.criterion));
        let readers = readers(session, &options.variants, ratio, criterion)?;
        let (spec, rows) = rows(session, options)?;
        let tokenizer = &session.tokenizer;
        let special: HashSet<u32> = [tokenizer.bos, tokenizer.eos, tokenizer.pad].into_iter().flatten().collect();
        let names = Names::of(session);
        let identities = readers.iter().map(|reader| names.identity(reader)).collect();
        Ok(Self { run: CoreRun::new(spec, readers, rows, special)?, identities, models: names.settings() })
    }
}

impl Job for CoreJob {
    fn name(&self) -> &'static str {
        "core"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        self.run.step(tick).map(Step::more_if)
    }

    fn progress(&self) -> JobProgress {
        JobProgress::new(self.run.progress(), "tokens", self.run.note())
    }

    /// With the models they were measured on.
    fn table(&self) -> MetricTable {
        let mut table = self.run.table();
        table.settings.splice(0..0, self.models.iter().cloned());
        table
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.run.restore(state)
    }

    /// One result file a variant below `folder`.
    fn finish(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let results = self.run.finish()?;
        let stamp = RunStamp::now();
        let files =
            self.identities.iter().zip(self.run.readers()).zip(&results).map(|((identity, reader), (_, result))| {
                (identity, result_file(self.run.spec(), reader.model.dtype, identity, &stamp, result))
            });
        write_results(folder, files)
    }
}

/// The text to measure on, as whole batches of rows.
pub fn rows(session: &Session, options: &CoreOptions) -> Result<(CoreSpec, Vec<Vec<u32>>)> {
    let config = &session.original.config;
    let context = options.context.unwrap_or(CONTEXT.min(config.n_ctx));
    if context < 2 || context > config.n_ctx {
        return Err(Error::Usage(format!(
            "a context of {context} tokens does not fit; expected 2 to {}",
            config.n_ctx
        )));
    }
    let wanted = options.rows.unwrap_or_else(|| default_rows(&session.original));
    let batch = options.batch.unwrap_or(BATCH);
    if wanted == 0 || batch == 0 {
        return Err(Error::Usage("rows and batch must be at least 1".into()));
    }
    let (corpus, dataset) = match options.text.as_ref().or(session.spec.text.as_ref()) {
        Some(path) => (read_corpus(path)?, safe(&path.display().to_string())),
        None => (Corpus::Texts(demo::held_out()?), "built-in held-out text".to_owned()),
    };
    // Whole batches only: a part of one would give `mse` another meaning.
    let batch = batch.min(wanted);
    let mut rows =
        corpus.rows(&session.tokenizer, config.d_vocab, context, session.spec.bos, wanted / batch * batch)?;
    if rows.is_empty() {
        return Err(Error::invalid(format!(
            "{dataset} does not fill one row of {context} tokens; give more text or a smaller context"
        )));
    }
    let spec = CoreSpec::over(rows.len(), context, batch, dataset);
    rows.truncate(spec.rows());
    Ok((spec, rows))
}

/// Enough for steady figures in about a minute on two cores.
pub fn default_rows(model: &Model) -> usize {
    match model.parameters() {
        0..20_000_000 => 64,
        20_000_000..200_000_000 => 32,
        _ => 16,
    }
}
