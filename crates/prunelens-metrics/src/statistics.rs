//! Rank correlations, a small regression, and how sure one can be of these and other figures: intervals by bootstrap, spreads of
//! seeds. Held to scipy and numpy by `tests/fixtures/statistics`.

use prunelens_core::rng::Rng;
use rayon::prelude::*;
use serde::Serialize;

/// Order of values with their ties: made once, then any resample is ranked in linear time.
pub struct Sorted {
    /// Indices from the smallest value on.
    order: Vec<u32>,
    /// Where each group of equals ends in it.
    ends: Vec<usize>,
}

impl Sorted {
    /// Of values without NaN.
    pub fn new(values: &[f64]) -> Self {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
        let same = |a: &u32, b: &u32| values[*a as usize] == values[*b as usize];
        let mut end = 0;
        let groups = order.chunk_by(same).map(|group| {
            end += group.len();
            end
        });
        let ends = groups.collect();
        Self { order, ends }
    }

    /// Ranks, the mean among equals (midranks: with them Pearson's formula is Spearman's coefficient with ties, Kendall 1945), in
    /// a sample that has each value so many times.
    pub fn ranks(&self, times: &[u32]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let (mut start, mut before) = (0, 0.0);
        for &end in &self.ends {
            let group = &self.order[start..end];
            let n: f64 = group.iter().map(|at| f64::from(times[*at as usize])).sum();
            group.iter().for_each(|at| ranks[*at as usize] = before + (n + 1.0) / 2.0);
            (start, before) = (end, before + n);
        }
        ranks
    }
}

/// Pearson correlation in a sample that has each pair so many times; NaN where either is constant. Pairs that are not there may
/// have any value.
pub fn correlation(a: &[f64], b: &[f64], times: &[u32]) -> f64 {
    let n: f64 = times.iter().map(|n| f64::from(*n)).sum();
    let there = |(_, n): &(&f64, &u32)| **n > 0;
    let mean = |v: &[f64]| v.iter().zip(times).filter(there).map(|(v, n)| v * f64::from(*n)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for ((a, b), n) in a.iter().zip(b).zip(times).filter(|(_, n)| **n > 0) {
        let (a, b, n) = (a - mean_a, b - mean_b, f64::from(*n));
        aa += n * a * a;
        bb += n * b * b;
        ab += n * a * b;
    }
    if aa > 0.0 && bb > 0.0 { (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0) } else { f64::NAN }
}

/// Coefficients of a linear regression by least squares in which every column, and what it is of, has variance 1, and the share
/// of variance that it explains, which is their product with the correlations (Cohen et al. 2003, 3.5); `None` where columns are
/// constant or say the same.
pub fn regression(columns: &[Vec<f64>], of: &[f64], times: &[u32]) -> Option<(Vec<f64>, f64)> {
    let n = columns.len();
    // The normal equations of standardised variables are their correlations.
    let mut rows: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| columns.iter().map(|b| correlation(a, b, times)).chain([correlation(a, of, times)]).collect())
        .collect();
    let with: Vec<f64> = rows.iter().map(|row| row[n]).collect();
    for at in 0..n {
        let pivot = (at..n).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        // Also where it is NaN.
        if rows[at][at].is_nan() || rows[at][at].abs() <= 1e-9 {
            return None;
        }
        let row = rows[at].clone();
        for other in rows.iter_mut().skip(at + 1) {
            let factor = other[at] / row[at];
            other.iter_mut().zip(&row).skip(at).for_each(|(other, v)| *other -= factor * v);
        }
    }
    let mut found = vec![0.0; n];
    for at in (0..n).rev() {
        let known: f64 = (at + 1..n).map(|other| rows[at][other] * found[other]).sum();
        found[at] = (rows[at][n] - known) / rows[at][at];
    }
    let explained = found.iter().zip(&with).map(|(b, r)| b * r).sum();
    Some((found, explained))
}

/// Where a figure may lie, in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

impl Interval {
    /// Zero is inside, or nothing is known.
    pub fn has_zero(&self) -> bool {
        !(self.low > 0.0 || self.high < 0.0)
    }
}

/// Mean of values too few for an interval, such as those of seeds, with the least and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

impl Spread {
    /// Of some values.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let all: Vec<f64> = values.collect();
        let fold = |first: f64, pick: fn(f64, f64) -> f64| all.iter().copied().fold(first, pick);
        Self {
            mean: all.iter().sum::<f64>() / all.len() as f64,
            low: fold(f64::INFINITY, f64::min),
            high: fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// From the least to the largest.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Figures in resamples: a list of each. Those that do not exist in a resample are left out.
pub struct Resampled(Vec<Vec<f64>>);

impl Resampled {
    /// As many as asked for. `of` gets the number of a resample and gives the same number of figures each time.
    pub fn new(resamples: usize, of: impl Fn(u64) -> Vec<f64> + Sync) -> Self {
        let found: Vec<Vec<f64>> = (0..resamples as u64).into_par_iter().map(&of).collect();
        let each =
            |at: usize| found.iter().filter_map(|found| found.get(at).copied()).filter(|v| !v.is_nan()).collect();
        Self((0..found.first().map_or(0, Vec::len)).map(each).collect())
    }

    /// The middle 95 % of each figure: percentile intervals (Efron and Tibshirani 1993, chapter 13).
    pub fn percentiles(mut self) -> Vec<Interval> {
        let interval = |all: &mut Vec<f64>| {
            all.sort_by(f64::total_cmp);
            Interval { low: percentile(all, 0.025), high: percentile(all, 0.975) }
        };
        self.0.iter_mut().map(interval).collect()
    }

    /// 1.96 standard errors to both sides of the figures, each the standard deviation of the resamples (the same, chapter 12). For
    /// figures that count what lies beyond a threshold, which lean in a resample: percentiles would lean with them.
    pub fn around(&self, values: &[f64]) -> Vec<Interval> {
        let interval = |(all, value): (&Vec<f64>, &f64)| {
            if all.len() < 2 {
                return Interval { low: f64::NAN, high: f64::NAN };
            }
            let n = all.len() as f64;
            let mean = all.iter().sum::<f64>() / n;
            let error = (all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            Interval { low: value - 1.96 * error, high: value + 1.96 * error }
        };
        self.0.iter().zip(values).map(interval).collect()
    }
}

/// How many times each of `n` is drawn in `n` draws with replacement.
pub fn draw(n: usize, rng: &mut Rng) -> Vec<u32> {
    let mut times = vec![0; n];
    (0..n).for_each(|_| times[rng.below(n)] += 1);
    times
}

/// Between the two nearest of sorted values (type 7 of Hyndman and Fan 1996, numpy's default); NaN of none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (low, high) = (sorted[at as usize], sorted[(at as usize + 1).min(last)]);
    low + (high - low) * at.fract()
}

/// The value below which a share of some values lies, of those that are numbers; NaN of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, share)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fixture() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/statistics/scipy.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn near(found: f64, expected: &Value, within: f64) {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() <= within, "{found}, expected {expected}");
    }

    #[test]
    fn figures_are_scipys() {
        let fixture = fixture();
        for case in fixture["cases"].as_array().unwrap() {
            let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
            let times: Vec<u32> = numbers(&case["times"]).into_iter().map(|n| n as u32).collect();
            let (sorted_x, sorted_y) = (Sorted::new(&x), Sorted::new(&y));
            let once = vec![1; x.len()];
            let spearman = |times: &[u32]| correlation(&sorted_x.ranks(times), &sorted_y.ranks(times), times);
            assert_eq!(sorted_x.ranks(&once), numbers(&case["ranks_x"]));
            near(spearman(&once), &case["spearman"], 1e-12);
            near(spearman(&times), &case["spearman_of_resample"], 1e-12);
            near(correlation(&x, &y, &once), &case["pearson"], 1e-12);
            near(quantile(&x, 0.3), &case["quantile_x_0.3"], 1e-12);
            let resampled = Resampled::new(4000, |at| vec![spearman(&draw(x.len(), &mut Rng::new(1, at)))]);
            let around = resampled.around(&[0.0])[0];
            near(around.high / 1.96, &case["standard_error"], 0.004);
            assert_eq!(around.low, -around.high);
            let interval = resampled.percentiles()[0];
            let [low, high] = [&case["bootstrap"][0], &case["bootstrap"][1]];
            // Two draws of thousands of resamples: percentiles of them are this near to each other.
            near(interval.low, low, 0.02);
            near(interval.high, high, 0.02);
        }
        let case = &fixture["regression"];
        let columns: Vec<Vec<f64>> = case["columns"].as_array().unwrap().iter().map(numbers).collect();
        let of = numbers(&case["of"]);
        let (found, explained) = regression(&columns, &of, &vec![1; of.len()]).unwrap();
        for (found, expected) in found.iter().zip(case["coefficients"].as_array().unwrap()) {
            near(*found, expected, 1e-10);
        }
        near(explained, &case["r_squared"], 1e-10);
    }

    #[test]
    fn a_spread_holds_its_values() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!((spread.mean, spread.low, spread.high, spread.width()), (2.0, 1.0, 3.0, 2.0));
    }

    #[test]
    fn what_says_nothing_has_no_figure() {
        let (flat, line) = (vec![2.0; 4], vec![1.0, 2.0, 3.0, 4.0]);
        assert!(correlation(&flat, &line, &[1; 4]).is_nan());
        assert!(regression(&[line.clone(), line.clone()], &line, &[1; 4]).is_none(), "the same twice");
        assert!(regression(&[flat], &line, &[1; 4]).is_none());
        assert!(quantile(&[f64::NAN], 0.5).is_nan());
        let nothing = Resampled::new(10, |_| vec![f64::NAN]);
        assert!(nothing.around(&[1.0])[0].has_zero(), "not known");
        let nothing = nothing.percentiles()[0];
        assert!(nothing.has_zero() && nothing.low.is_nan());
        assert!(Interval { low: -0.1, high: 0.3 }.has_zero());
        assert!(!Interval { low: 0.1, high: 0.3 }.has_zero());
        assert!(
            correlation(&[f64::NAN, 1.0, 2.0], &[0.0, 3.0, 1.0], &[0, 1, 1]) == -1.0,
            "what is not there does not count"
        );
    }
}
