//! Absorption in the list of families: what can be chosen, and what it costs.

use prunelens_core::{error::Result, session::Session};

use crate::{
    Cost, Extent, Family, Kind, Param, Params,
    absorption::{
        LETTERS,
        job::{AbsorptionJob, AbsorptionOptions, default_words},
    },
    params::{CRITERION, RATIO, VARIANTS},
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
    let Extent { variants, models, before, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as f64, session.sae.d_sae() as f64);
    let probes = 50.0 * 4.0 * LETTERS as f64 * words as f64;
    Ok(Some(Cost {
        tokens: words * PROMPT,
        // A second prompt for the fifth that is tested.
        passes: 1.2 * models * before,
        // One token a prompt.
        encodings: variants / (2 * PROMPT) as f64,
        // Probes on activations and, mostly on zeros, on latents; weights of all latents at each of their steps.
        other: probes * (models * d_in + variants * d_sae.min(500.0)) + variants * 50.0 * 20.0 * LETTERS as f64 * d_sae,
        bytes: (4.0 * words as f64 * (2.0 * d_in + 2.0 * d_sae.min(500.0)) + 16.0 * LETTERS as f64 * d_sae) as u64,
    }))
}
