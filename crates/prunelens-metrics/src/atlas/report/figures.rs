//! The figures of a report, from a sample in which each latent is there so many times.

use serde::Serialize;

use super::{
    kinds::Kind,
    sample::{Column, Sample},
};
use crate::statistics::{correlation, regression};

/// What became of latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The ratio at which half of the mass is gone, by pruning of the SAE.
    Half,
    /// The share of the mass that is left by pruning of the model alone.
    Model,
}

impl Outcome {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Half, Self::Model];
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Rank correlation of a predictor with an outcome.
    Spearman(Outcome, usize),
    /// Its coefficient in the regression of ranks.
    Coefficient(Outcome, usize),
    /// Share of the variance of ranks that all predictors explain together.
    Explained(Outcome),
    /// Mean ratio at which half of the mass is gone.
    MeanHalf,
    /// Latents that lost half or more.
    Lost(Outcome),
    /// Share of a kind among all.
    OfAll(Outcome, Kind),
    /// The same among those that lost half or more.
    OfLost(Outcome, Kind),
    /// The second less the first.
    Difference(Outcome, Kind),
    /// First-order change of the loss at a ratio, in nats; the first row is of the model's pruning alone.
    Loss(usize),
    /// What latents of a kind have of it, in nats.
    LossOf(usize, Kind),
    /// The same as a share of it.
    LossShare(usize, Kind),
}

/// What all samples of a report have in common.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Predictors that vary.
    pub predictors: Vec<usize>,
    /// The place of the ratio at which those that lost half are looked at.
    pub ratio: usize,
    /// Fewer that lost half say nothing of kinds.
    pub fewest: usize,
}

/// All, in one order whatever the sample.
pub fn figures(frame: &Frame, ratios: &[f64], sample: &Sample, times: &[u32]) -> Vec<(Figure, f64)> {
    let mut out = Vec::new();
    let ranked: Vec<Vec<f64>> = frame.predictors.iter().map(|at| sample.predictors[*at].sorted.ranks(times)).collect();
    for (outcome, column) in [(Outcome::Half, &sample.half), (Outcome::Model, &sample.transfer)] {
        goes_with(frame, outcome, column, &ranked, times, &mut out);
    }
    let n: f64 = times.iter().map(|n| f64::from(*n)).sum();
    let mean = sample.half.values.iter().zip(times).map(|(v, n)| v * f64::from(*n)).sum::<f64>() / n;
    out.push((Figure::MeanHalf, mean));
    let lost = |outcome: Outcome, at: usize| match outcome {
        Outcome::Half => sample.half.values[at] <= ratios[frame.ratio],
        Outcome::Model => sample.transfer.values[at] < 0.5,
    };
    for outcome in Outcome::ALL {
        of_kinds(frame, outcome, sample, times, &|at| lost(outcome, at), &mut out);
    }
    losses(sample, times, &mut out);
    out
}

/// Of ranks.
fn goes_with(
    frame: &Frame,
    outcome: Outcome,
    of: &Column,
    ranked: &[Vec<f64>],
    times: &[u32],
    out: &mut Vec<(Figure, f64)>,
) {
    let of = of.sorted.ranks(times);
    for (at, ranks) in frame.predictors.iter().zip(ranked) {
        out.push((Figure::Spearman(outcome, *at), correlation(ranks, &of, times)));
    }
    let found = regression(ranked, &of, times);
    let (coefficients, explained) = found.unwrap_or_else(|| (vec![f64::NAN; ranked.len()], f64::NAN));
    for (at, coefficient) in frame.predictors.iter().zip(coefficients) {
        out.push((Figure::Coefficient(outcome, *at), coefficient));
    }
    out.push((Figure::Explained(outcome), explained));
}

fn of_kinds(
    frame: &Frame,
    outcome: Outcome,
    sample: &Sample,
    times: &[u32],
    lost: &dyn Fn(usize) -> bool,
    out: &mut Vec<(Figure, f64)>,
) {
    let mut counts = [[0.0; 2]; Kind::ALL.len()];
    for (at, n) in times.iter().enumerate().filter(|(_, n)| **n > 0) {
        let count = &mut counts[sample.kinds[at] as usize];
        count[0] += f64::from(*n);
        count[1] += if lost(at) { f64::from(*n) } else { 0.0 };
    }
    let [all, gone] = [0, 1].map(|of| counts.iter().map(|count| count[of]).sum::<f64>());
    out.push((Figure::Lost(outcome), gone));
    let enough = gone >= frame.fewest as f64;
    for (kind, [n, lost]) in Kind::ALL.into_iter().zip(counts) {
        let (of_all, of_lost) = (n / all, if enough { lost / gone } else { f64::NAN });
        out.push((Figure::OfAll(outcome, kind), of_all));
        out.push((Figure::OfLost(outcome, kind), of_lost));
        out.push((Figure::Difference(outcome, kind), of_lost - of_all));
    }
}

/// Importance times the share of mass that is lost against the original, summed.
fn losses(sample: &Sample, times: &[u32], out: &mut Vec<(Figure, f64)>) {
    for (row, kept) in std::iter::once(&sample.transfer.values).chain(&sample.kept).enumerate() {
        let mut sums = [0.0; Kind::ALL.len()];
        for (at, n) in times.iter().enumerate().filter(|(_, n)| **n > 0) {
            sums[sample.kinds[at] as usize] += f64::from(*n) * sample.importance[at] * (1.0 - kept[at]);
        }
        let total: f64 = sums.iter().sum();
        out.push((Figure::Loss(row), total));
        for (kind, sum) in Kind::ALL.into_iter().zip(sums) {
            out.push((Figure::LossOf(row, kind), sum));
            out.push((Figure::LossShare(row, kind), sum / total));
        }
    }
}
