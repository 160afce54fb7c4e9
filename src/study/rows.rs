//! How far figures may lie if other rows of the same text had been measured: intervals by bootstrap over blocks of rows, in which
//! all SAEs have the same blocks, so that differences are of pairs.

use prunelens_core::rng::Rng;
use prunelens_metrics::{
    core::{Blocks, blocks::FIGURES},
    statistics::{Interval, Resampled, draw},
};

const RESAMPLES: usize = 1000;
/// Of fewer blocks nothing can be said.
pub const FEWEST: usize = 8;
/// The same draws in every report.
const SEED: u64 = 0x0052_4f57;

/// The middle 95 % of what `of` makes of a figure of each: the mean over its seeds. `None` where blocks do not give the figure, are too
/// few, or not of the same rows.
pub fn interval(each: &[Vec<&Blocks>], figure: &str, of: impl Fn(&[f64]) -> f64 + Sync) -> Option<Interval> {
    let n = each.first()?.first()?.sums.len();
    let alike = each.iter().all(|seeds| !seeds.is_empty() && seeds.iter().all(|blocks| blocks.sums.len() == n));
    if n < FEWEST || !alike || !FIGURES.contains(&figure) {
        return None;
    }
    let resampled = Resampled::new(RESAMPLES, |at| {
        let times = draw(n, &mut Rng::new(SEED, at));
        let mean = |seeds: &Vec<&Blocks>| {
            seeds.iter().map(|blocks| blocks.figure(figure, &times)).sum::<f64>() / seeds.len() as f64
        };
        vec![of(&each.iter().map(mean).collect::<Vec<_>>())]
    });
    resampled.percentiles().first().copied().filter(|interval| interval.low.is_finite() && interval.high.is_finite())
}

#[cfg(test)]
mod tests {
    use prunelens_core::compare::Variant;
    use prunelens_metrics::core::Block;

    use super::*;

    fn blocks(losses: &[f64]) -> Blocks {
        let sums = losses.iter().map(|loss| Block { predicted: 4.0, ce_sae: 4.0 * loss, ..Block::default() }).collect();
        Blocks { variant: Variant::Transfer, at: None, d_in: 2, sums }
    }

    #[test]
    fn an_interval_is_as_wide_as_the_rows_differ() {
        let losses: Vec<f64> = (0..50).map(|at| 3.0 + f64::from(at % 5) / 10.0).collect();
        let a = blocks(&losses);
        let found = interval(&[vec![&a]], "ce_loss_with_sae", |of| of[0]).unwrap();
        // The mean is 3.2, the standard error 0.1414 / sqrt(50) = 0.02.
        assert!((found.low - 3.161).abs() < 0.006 && (found.high - 3.239).abs() < 0.006, "{found:?}");
        assert_eq!(interval(&[vec![&a]], "ce_loss_with_sae", |of| of[0]), Some(found), "the same draws");
    }

    #[test]
    fn differences_are_of_pairs() {
        let losses: Vec<f64> = (0..50).map(|at| 3.0 + f64::from(at)).collect();
        let (a, b) = (blocks(&losses), blocks(&losses.iter().map(|loss| loss - 0.25).collect::<Vec<_>>()));
        let found = interval(&[vec![&a], vec![&b]], "ce_loss_with_sae", |of| of[0] - of[1]).unwrap();
        assert!((found.low - 0.25).abs() < 1e-9 && (found.high - 0.25).abs() < 1e-9, "rows cancel: {found:?}");
    }

    #[test]
    fn few_or_other_rows_have_none() {
        let (few, more, other) = (blocks(&[3.0; 7]), blocks(&[3.0; 8]), blocks(&[3.0; 9]));
        assert_eq!(interval(&[vec![&few]], "ce_loss_with_sae", |of| of[0]), None);
        assert!(interval(&[vec![&more]], "ce_loss_with_sae", |of| of[0]).is_some());
        assert_eq!(interval(&[vec![&more], vec![&other]], "ce_loss_with_sae", |of| of[0]), None);
        assert_eq!(interval(&[vec![&more], Vec::new()], "ce_loss_with_sae", |of| of[0]), None);
        assert_eq!(interval(&[vec![&more]], "kl_div_with_sae", |of| of[0]), None, "undefined");
        assert_eq!(interval(&[vec![&more]], "l0", |_| 1.0), None, "no figure of blocks");
    }
}
