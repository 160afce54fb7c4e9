//! A core job on what a session has loaded: which variants, which text, how many rows.

use std::collections::HashSet;

use prunelens_core::{
    data::{Corpus, read_corpus},
    demo,
    error::{Error, Result},
    session::Session,
    text::safe,
};

use super::{
    CoreRun, CoreSpec,
    options::{BATCH, CoreOptions, PARAMS, cost, default_rows},
};
use crate::{
    Cost, Metric, Param, SessionJob,
    params::default_context,
    readers::{Names, readers, setting},
};

/// The job of this family.
pub type CoreJob = SessionJob<CoreRun>;

impl Metric for CoreJob {
    const NAME: &'static str = "core";
    const TITLE: &'static str = "Reconstruction, sparsity, and what the model's predictions lose (SAEBench's core)";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = CoreOptions;

    fn cost(session: &Session, options: &CoreOptions) -> Result<Cost> {
        Ok(cost(session, options))
    }

    fn new(session: &Session, options: &CoreOptions) -> Result<Self> {
        let readers =
            readers(session, &options.variants, setting(session, options.knob, options.ratio, options.criterion)?)?;
        let (spec, rows) = rows(session, options)?;
        let tokenizer = &session.models.tokenizer;
        let special: HashSet<u32> = [tokenizer.bos, tokenizer.eos, tokenizer.pad].into_iter().flatten().collect();
        let names = Names::of(session);
        let (identities, warnings) =
            (names.identities(&readers), fewer(options.rows, &spec).into_iter().chain(with_bos(session)).collect());
        let run = CoreRun::new(spec, readers, rows, special)?;
        Ok(Self { warnings, ..Self::new(run, identities, names.settings()) })
    }
}

/// Says that the text has fewer rows than were asked for.
pub fn fewer(asked: Option<usize>, spec: &CoreSpec) -> Option<String> {
    let asked = asked.filter(|asked| asked / spec.batch_size_prompts.max(1) * spec.batch_size_prompts > spec.rows())?;
    Some(format!(
        "{asked} rows were asked for, {} has {} of {} tokens in whole batches of {}",
        spec.dataset,
        spec.rows(),
        spec.context_size,
        spec.batch_size_prompts
    ))
}

/// Says that rows begin with BOS where an SAE was trained without: SAEBench makes rows as the SAE's config says.
fn with_bos(session: &Session) -> Option<String> {
    session.models.tokenizer.bos.filter(|_| session.spec.bos)?;
    let saes = [Some(&session.sae), session.trained.as_ref()].into_iter().flatten();
    let names: Vec<_> = saes.filter(|sae| !sae.config.prepend_bos).map(|sae| safe(&sae.config.name)).collect();
    (!names.is_empty()).then(|| {
        let names = names.join(" and ");
        format!("rows begin with BOS; {names}: trained without, and SAEBench leaves it out there (--no-bos)")
    })
}

/// The text to measure on, as whole batches of rows.
pub fn rows(session: &Session, options: &CoreOptions) -> Result<(CoreSpec, Vec<Vec<u32>>)> {
    let config = &session.models.original.config;
    let context = options.context.unwrap_or(default_context(session));
    if context < 2 || context > config.n_ctx {
        return Err(Error::Usage(format!(
            "a context of {context} tokens does not fit; expected 2 to {}",
            config.n_ctx
        )));
    }
    let wanted = options.rows.unwrap_or_else(|| default_rows(&session.models.original));
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
        corpus.rows(&session.models.tokenizer, config.d_vocab, context, session.spec.bos, wanted / batch * batch)?;
    if rows.is_empty() {
        return Err(Error::invalid(format!(
            "{dataset} does not fill one row of {context} tokens; give more text or a smaller context"
        )));
    }
    let spec = CoreSpec::over(rows.len(), context, batch, dataset);
    rows.truncate(spec.rows());
    Ok((spec, rows))
}
