//! What atlases say: which latents pruning takes, with effect sizes and how sure one can be of them.
//!
//! Every figure has intervals by percentile bootstrap: over blocks of rows, over latents, and over SAEs where several are given.
//! Criteria are laid against `random`, the null, by differences of pairs.

mod comparable;
mod figures;
mod kinds;
mod resamples;
mod sample;

use prunelens_core::error::{Error, Result};
use serde::Serialize;

pub use figures::{Figure, Outcome};
pub use kinds::Kind;
pub use resamples::Estimate;
pub use sample::PREDICTORS;

use self::{
    comparable::{groups, sae_name},
    figures::Frame,
    resamples::{Measured, estimates},
    sample::Base,
};
use super::{About, Atlas};

/// The criterion that the others are laid against.
pub const NULL: &str = "random";
/// Kinds are looked at where at least this share has lost half.
const ENOUGH: f64 = 0.25;

/// What counts, and where kinds end; shares are quantiles among the latents that count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Options {
    /// Latents that fire fewer times do not count.
    pub firings: u64,
    /// Draws of each bootstrap.
    pub resamples: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// Dense: density from this quantile on; rare: below it.
    pub dense: f64,
    /// Unimportant: importance without its sign below this quantile.
    pub important: f64,
    /// Specific: token entropy below this quantile.
    pub specific: f64,
    /// Polysemantic: token entropy from this quantile on.
    pub polysemantic: f64,
    /// Fewer latents than this say nothing.
    pub fewest: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            firings: 10,
            resamples: 1000,
            seed: 0,
            dense: 0.5,
            important: 0.5,
            specific: 0.5,
            polysemantic: 0.75,
            fewest: 20,
        }
    }
}

/// Figures of one criterion.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// By which the SAE is pruned.
    pub criterion: String,
    /// The ratio at which latents that lost half are told by kind.
    pub ratio: f64,
    /// Share of the latents that count which keep half of their mass at each ratio, the mean over SAEs.
    pub survivors: Vec<f64>,
    /// All figures.
    pub figures: Vec<(Figure, Estimate)>,
    /// The same less those of [`NULL`]; empty without it, and of it.
    pub against_null: Vec<(Figure, Estimate)>,
}

impl Findings {
    /// One of them.
    pub fn get(&self, figure: Figure) -> Option<&Estimate> {
        self.figures.iter().find(|(found, _)| *found == figure).map(|(_, estimate)| estimate)
    }

    /// Its difference from the null.
    pub fn against(&self, figure: Figure) -> Option<&Estimate> {
        self.against_null.iter().find(|(found, _)| *found == figure).map(|(_, estimate)| estimate)
    }
}

/// What several atlases say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rows, counted positions, and rows of which importance is.
    pub rows: usize,
    /// See there.
    pub positions: u64,
    /// See there.
    pub importance_rows: usize,
    /// Where the text is from.
    pub text: String,
    /// Where the SAEs read.
    pub hook: String,
    /// How the model is compressed.
    pub compress: String,
    /// At which mass is measured.
    pub ratios: Vec<f64>,
    /// Latents of each SAE.
    pub d_sae: usize,
    /// SAEs, with the latents that count.
    pub saes: Vec<(String, usize)>,
    /// Blocks of rows that are resampled; 0: none.
    pub blocks: usize,
    /// What counts, and where kinds end.
    pub options: Options,
    /// Places in [`PREDICTORS`] of those that vary.
    pub predictors: Vec<usize>,
    /// One a criterion.
    pub findings: Vec<Findings>,
}

impl Report {
    /// From atlases of the same rows, model and masks.
    pub fn new(atlases: &[Atlas], options: Options) -> Result<Self> {
        check(&options)?;
        let groups = groups(atlases)?;
        let Some(first) = groups.first().and_then(|group| group.atlases.first()).map(|atlas| (*atlas).clone()) else {
            return Err(Error::Usage("a report needs at least one atlas".into()));
        };
        let blocks: Vec<_> = atlases.iter().map(|atlas| Ok((&atlas.path, atlas.blocks()?))).collect::<Result<_>>()?;
        let of = |atlas: &Atlas| {
            let found = blocks.iter().find(|(path, _)| **path == atlas.path).map(|(_, blocks)| blocks.clone());
            Base::new(atlas, found.unwrap_or_default(), &options)
        };
        let measured: Vec<Measured> = groups
            .iter()
            .map(|group| {
                let saes = group.atlases.iter().map(|atlas| of(atlas)).collect::<Result<_>>()?;
                Ok(Measured { criterion: group.criterion.clone(), saes })
            })
            .collect::<Result<_>>()?;
        let bases = || measured.iter().flat_map(|measured| &measured.saes);
        let varies = |at: &usize| bases().all(|base| !base.whole.predictors[*at].is_constant());
        let predictors: Vec<usize> = (0..PREDICTORS.len()).filter(varies).collect();
        let ratios = first.about.ratios.clone();
        let frame = |measured: &Measured| {
            let survivors = survivors(measured, &ratios);
            let enough = survivors.iter().position(|share| 1.0 - share >= ENOUGH);
            let ratio = enough.unwrap_or(ratios.len().saturating_sub(1));
            Frame { predictors: predictors.clone(), ratio, fewest: options.fewest }
        };
        let frames: Vec<Frame> = measured.iter().map(frame).collect();
        let null = measured.iter().position(|measured| measured.criterion == NULL).filter(|_| measured.len() > 1);
        let found = estimates(&measured, &frames, null, &options);
        let mut against = found.against.into_iter();
        let findings =
            measured.iter().zip(&frames).zip(found.of).enumerate().map(|(at, ((measured, frame), figures))| {
                let against = against.next().filter(|_| null != Some(at)).unwrap_or_default();
                Findings {
                    criterion: measured.criterion.clone(),
                    ratio: ratios[frame.ratio],
                    survivors: survivors(measured, &ratios),
                    figures,
                    against_null: against,
                }
            });
        let findings = findings.collect();
        let alike = bases().map(Base::blocks).min().filter(|n| bases().all(|base| base.blocks() == *n));
        let names = groups[0].atlases.iter().zip(&measured[0].saes);
        Ok(Self {
            rows: first.about.rows,
            positions: first.about.positions,
            importance_rows: first.about.importance_rows,
            compress: compression(&first.about),
            saes: names.map(|(atlas, base)| (sae_name(atlas), base.latents.len())).collect(),
            text: first.about.text,
            hook: first.about.hook,
            d_sae: first.about.d_sae,
            ratios,
            blocks: alike.unwrap_or(0),
            options,
            predictors,
            findings,
        })
    }
}

fn compression(about: &About) -> String {
    match (&about.session["pruned_model"], about.session["compress"].as_str()) {
        (serde_json::Value::Null, Some(rule)) => rule.to_owned(),
        _ => "another checkpoint".into(),
    }
}

/// Share that keeps half of its mass at each ratio.
fn survivors(measured: &Measured, ratios: &[f64]) -> Vec<f64> {
    let share = |ratio: f64| {
        let of = |base: &Base| {
            let last = |half: &f64| *half > ratio;
            base.whole.half.values.iter().filter(|half| last(half)).count() as f64 / base.latents.len() as f64
        };
        measured.saes.iter().map(of).sum::<f64>() / measured.saes.len() as f64
    };
    ratios.iter().map(|ratio| share(*ratio)).collect()
}

fn check(options: &Options) -> Result<()> {
    let shares = [
        ("--dense", options.dense),
        ("--important", options.important),
        ("--specific", options.specific),
        ("--polysemantic", options.polysemantic),
    ];
    for (flag, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::Usage(format!("{flag} {share}: expected a quantile from 0 to 1")));
        }
    }
    if !(100..=100_000).contains(&options.resamples) {
        return Err(Error::Usage(format!("--resamples {}: expected 100 to 100000", options.resamples)));
    }
    Ok(())
}
