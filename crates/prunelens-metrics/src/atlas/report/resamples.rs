//! All figures of all criteria in one draw of latents, of blocks of rows, or of SAEs: so that differences are of pairs.

use prunelens_core::rng::Rng;

use super::{
    Options,
    figures::{Figure, Frame, figures},
    sample::{Base, Sample},
};
use crate::statistics::{Interval, Resampled, draw};

/// A criterion's SAEs.
pub struct Measured {
    pub criterion: String,
    pub saes: Vec<Base>,
}

/// A figure with what is known of how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The mean over SAEs.
    pub value: f64,
    /// By resampling blocks of rows, standard errors to both sides; none of an atlas without blocks.
    pub rows: Option<Interval>,
    /// By resampling latents, percentiles.
    pub latents: Interval,
    /// By resampling SAEs, percentiles; none of one.
    pub saes: Option<Interval>,
}

impl Estimate {
    /// 0 is inside of one of the intervals.
    pub fn within_noise(&self) -> bool {
        [self.rows, Some(self.latents), self.saes].into_iter().flatten().any(|interval| interval.has_zero())
    }
}

/// Figures of each criterion, and each less that of the null.
pub struct Estimates {
    pub of: Vec<Vec<(Figure, Estimate)>>,
    /// Empty without a null.
    pub against: Vec<Vec<(Figure, Estimate)>>,
}

enum Draw<'a> {
    Whole,
    /// Of each SAE's latents: the same for all criteria.
    Latents(u64),
    Rows(&'a [u32]),
    Saes(&'a [u32]),
}

/// All estimates. `null` is the place of the criterion that others are laid against.
pub fn estimates(all: &[Measured], frames: &[Frame], null: Option<usize>, options: &Options) -> Estimates {
    let world = World { all, frames, null, options };
    let keys = world.keys();
    let values = world.values(&Draw::Whole);
    let resampled = |of: &(dyn Fn(u64) -> Vec<f64> + Sync)| Resampled::new(options.resamples, of);
    let latents = resampled(&|at| world.values(&Draw::Latents(at))).percentiles();
    let bases = || all.iter().flat_map(|measured| &measured.saes);
    let blocks = bases().map(Base::blocks).min().unwrap_or(0);
    let alike = bases().all(|base| base.blocks() == blocks);
    let rows = (blocks > 0 && alike).then(|| {
        let times = |at| draw(blocks, &mut Rng::new(options.seed ^ 0x0052_4f57, at));
        resampled(&|at| world.values(&Draw::Rows(&times(at)))).around(&values)
    });
    let n = all.first().map_or(0, |measured| measured.saes.len());
    // Once for each, however often it is drawn.
    let saes = (n > 1).then(|| {
        let each: Vec<Vec<f64>> = (0..n)
            .map(|at| world.values(&Draw::Saes(&(0..n).map(|sae| u32::from(sae == at)).collect::<Vec<_>>())))
            .collect();
        resampled(&|at| {
            let times = draw(n, &mut Rng::new(options.seed ^ 0x0053_4145, at));
            let mean = |figure: usize| {
                let sum = times.iter().zip(&each).filter(|(n, _)| **n > 0).map(|(n, of)| f64::from(*n) * of[figure]);
                sum.sum::<f64>() / n as f64
            };
            (0..values.len()).map(mean).collect()
        })
        .percentiles()
    });
    let estimate = |at: usize| Estimate {
        value: values[at],
        rows: rows.as_ref().map(|found| found[at]),
        latents: latents[at],
        saes: saes.as_ref().map(|found| found[at]),
    };
    let mut parts: Vec<Vec<(Figure, Estimate)>> = vec![Vec::new(); 2 * all.len()];
    for (at, (part, figure)) in keys.into_iter().enumerate() {
        parts[part].push((figure, estimate(at)));
    }
    let against = parts.split_off(all.len());
    Estimates { of: parts, against: if null.is_some() { against } else { Vec::new() } }
}

struct World<'a> {
    all: &'a [Measured],
    /// One a criterion.
    frames: &'a [Frame],
    null: Option<usize>,
    options: &'a Options,
}

impl World<'_> {
    /// Which part each number is of, and what it is.
    fn keys(&self) -> Vec<(usize, Figure)> {
        self.parts(&Draw::Whole).into_iter().map(|(part, figure, _)| (part, figure)).collect()
    }

    fn values(&self, draw: &Draw) -> Vec<f64> {
        self.parts(draw).into_iter().map(|(_, _, value)| value).collect()
    }

    fn parts(&self, draw: &Draw) -> Vec<(usize, Figure, f64)> {
        let means: Vec<Vec<(Figure, f64)>> = (0..self.all.len()).map(|at| self.mean(at, draw)).collect();
        let mut out = Vec::new();
        for (part, found) in means.iter().enumerate() {
            out.extend(found.iter().map(|(figure, value)| (part, *figure, *value)));
        }
        let Some(null) = self.null.and_then(|at| means.get(at)) else { return out };
        for (part, found) in means.iter().enumerate() {
            for (figure, value) in found.iter().filter(|(figure, _)| can_be_laid_against(figure)) {
                let other = null.iter().find(|(of_null, _)| of_null == figure).map_or(f64::NAN, |(_, v)| *v);
                out.push((self.all.len() + part, *figure, value - other));
            }
        }
        out
    }

    /// Of one criterion, over its SAEs.
    fn mean(&self, at: usize, draw: &Draw) -> Vec<(Figure, f64)> {
        let saes = &self.all[at].saes;
        let weight = |sae: usize| match draw {
            Draw::Saes(times) => f64::from(times[sae]),
            _ => 1.0 / saes.len() as f64,
        };
        let mut out: Vec<(Figure, f64)> = Vec::new();
        for (sae, base) in saes.iter().enumerate().filter(|(sae, _)| weight(*sae) > 0.0) {
            let found = self.of(&self.frames[at], base, sae, draw);
            if out.is_empty() {
                out = found.iter().map(|(figure, _)| (*figure, 0.0)).collect();
            }
            out.iter_mut().zip(found).for_each(|((_, sum), (_, value))| *sum += weight(sae) * value);
        }
        out
    }

    fn of(&self, frame: &Frame, base: &Base, sae: usize, draw: &Draw) -> Vec<(Figure, f64)> {
        let found = |sample: &Sample, times: &[u32]| figures(frame, &base.ratios, sample, times);
        match draw {
            Draw::Whole | Draw::Saes(_) => found(&base.whole, &base.whole.there),
            Draw::Latents(at) => {
                let mut rng = Rng::named(self.options.seed.wrapping_add(*at), &format!("latents of {sae}"));
                found(&base.whole, &crate::statistics::draw(base.latents.len(), &mut rng))
            }
            Draw::Rows(times) => {
                let sample = base.redrawn(times, self.options);
                found(&sample, &sample.there)
            }
        }
    }
}

/// Figures of a criterion's own pruning; what is looked at is not at one ratio for all, so kinds are not among them.
fn can_be_laid_against(figure: &Figure) -> bool {
    use super::figures::Outcome::Half;
    matches!(figure, Figure::Spearman(Half, _) | Figure::Explained(Half) | Figure::MeanHalf)
}
