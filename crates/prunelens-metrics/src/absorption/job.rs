//! An absorption job on what a session has loaded: which variants and words, what the files are called.

use std::path::{Path, PathBuf};

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
    model::{Model, Tick},
    prune::Criterion,
    session::Session,
};

use super::{
    AbsorptionRun, AbsorptionSpec,
    report::{Used, result_file},
};
use crate::{
    Detail, MetricTable,
    job::{Job, JobProgress, Step},
    report::{Identity, RunStamp, write_results},
    subjects::{Names, readers},
};

/// What can be chosen about an absorption run; `None` is a default that suits the model and two CPU cores.
#[derive(Clone, Debug, Default)]
pub struct AbsorptionOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Most words of the vocabulary; 0 takes all, as SAEBench does.
    pub words: Option<usize>,
    /// Letters that must be told well enough. Default: SAEBench's 20.
    pub min_letters: Option<usize>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub pruning: Option<(f64, Criterion)>,
}

/// A run with the names of its results.
pub struct AbsorptionJob {
    pub run: AbsorptionRun,
    /// In the order of the run's readers.
    identities: Vec<Identity>,
    models: Vec<(String, String)>,
}

impl AbsorptionJob {
    pub fn new(session: &Session, options: &AbsorptionOptions) -> Result<Self> {
        let (ratio, criterion) = options.pruning.unwrap_or((session.spec.ratio, session.spec.criterion));
        let readers = readers(session, &options.variants, ratio, criterion)?;
        let names = Names::of(session);
        let identities = readers.iter().map(|reader| names.identity(reader)).collect();
        let words = options.words.unwrap_or_else(|| default_words(&session.original));
        let spec = AbsorptionSpec { max_words: Some(words).filter(|&n| n > 0), ..AbsorptionSpec::default() };
        let min_feats_for_eval = options.min_letters.unwrap_or(spec.min_feats_for_eval);
        if !(1..=super::LETTERS).contains(&min_feats_for_eval) {
            return Err(Error::Usage(format!("{min_feats_for_eval} letters cannot be asked for; expected 1 to 26")));
        }
        let spec = AbsorptionSpec { min_feats_for_eval, ..spec };
        let run = AbsorptionRun::new(spec, readers, session.tokenizer.clone(), session.spec.bos)?;
        Ok(Self { run, identities, models: names.settings() })
    }
}

impl Job for AbsorptionJob {
    fn name(&self) -> &'static str {
        "absorption"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        self.run.step(tick).map(Step::more_if)
    }

    fn progress(&self) -> JobProgress {
        JobProgress::new(self.run.progress(), "prompts", self.run.note())
    }

    /// With the models they were measured on.
    fn table(&self) -> MetricTable {
        let mut table = self.run.table();
        table.settings.splice(0..0, self.models.iter().cloned());
        table
    }

    fn details(&self) -> Vec<Detail> {
        self.run.details()
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.run.restore(state)
    }

    /// One result file below `folder` for each variant that could be evaluated.
    fn finish(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let results = self.run.finish()?;
        let Some(prompts) = self.run.prompts() else { return Ok(Vec::new()) };
        let stamp = RunStamp::now();
        let files =
            results.iter().zip(self.run.readers()).zip(&self.identities).filter_map(|((result, reader), identity)| {
                let used = Used {
                    prompt_token_pos: -(prompts.from_end as i64),
                    llm_batch_size: self.run.prompts_at_once(reader),
                    k_sparse_probe_batch_size: prompts.latent_batch(self.run.spec().k_sparse_probe_batch_size),
                    dtype: reader.model.dtype,
                    hook: reader.hook.to_string(),
                };
                let file = result_file(self.run.spec(), &used, identity, &stamp, result, result.mean.as_ref()?);
                Some((identity, file))
            });
        write_results(folder, files)
    }
}

/// Some ten minutes at most on two cores, whatever the model.
pub fn default_words(model: &Model) -> usize {
    match model.parameters() {
        0..20_000_000 => 4000,
        20_000_000..500_000_000 => 2000,
        _ => 1000,
    }
}
