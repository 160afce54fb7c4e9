//! An absorption job on what a session has loaded: which variants, which words.

use prunelens_core::{
    error::{Error, Result},
    session::Session,
};

use super::{
    AbsorptionRun, AbsorptionSpec, LETTERS,
    options::{AbsorptionOptions, PARAMS, cost, default_words},
};
use crate::{
    Cost, Metric, Param, SessionJob,
    readers::{Names, readers, setting},
};

/// The job of this family.
pub type AbsorptionJob = SessionJob<AbsorptionRun>;

impl Metric for AbsorptionJob {
    const NAME: &'static str = "absorption";
    const TITLE: &'static str =
        "Words on which other latents stand in for their first letter's own (SAEBench's absorption)";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = AbsorptionOptions;

    fn cost(session: &Session, options: &AbsorptionOptions) -> Result<Cost> {
        Ok(cost(session, options))
    }

    fn new(session: &Session, options: &AbsorptionOptions) -> Result<Self> {
        let readers =
            readers(session, &options.variants, setting(session, options.knob, options.ratio, options.criterion)?)?;
        let names = Names::of(session);
        let words = options.words.unwrap_or_else(|| default_words(&session.models.original));
        let spec = AbsorptionSpec { max_words: Some(words).filter(|&n| n > 0), ..AbsorptionSpec::default() };
        let min_feats_for_eval = options.min_letters.unwrap_or(spec.min_feats_for_eval);
        if !(1..=LETTERS).contains(&min_feats_for_eval) {
            return Err(Error::Usage(format!("{min_feats_for_eval} letters cannot be asked for; expected 1 to 26")));
        }
        let spec = AbsorptionSpec { min_feats_for_eval, ..spec };
        let identities = names.identities(&readers);
        let run = AbsorptionRun::new(spec, readers, session.models.tokenizer.clone(), session.spec.bos)?;
        Ok(Self::new(run, identities, names.settings()))
    }
}
