//! The k largest of a row, fast for rows of thousands and k of dozens.

/// Members of a group when the row is scanned for a bound; values looked at together when it is scanned for candidates.
const GROUP: usize = 16;

/// Scratch space of [`top_k`], to be kept between rows.
#[derive(Default)]
pub struct Scratch {
    maxima: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

/// The least value above zero that counts as one.
pub const POSITIVE: f32 = f32::MIN_POSITIVE;

/// Append the `k` largest values of `row` to `out`, of those not below `least`, with their positions, which ascend. Among
/// equal values the lowest positions are taken. For bodies of `dispatch!`; loops are plain because closures handed to
/// iterators may be compiled apart, for the baseline CPU.
#[inline(always)]
pub fn top_k(row: &[f32], k: usize, least: f32, scratch: &mut Scratch, out: &mut Vec<(u32, f32)>) {
    if k == 0 {
        return;
    }
    let Scratch { maxima, candidates } = scratch;
    candidates.clear();
    at_least(row, bound(row, k, least, maxima), candidates);
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        candidates.truncate(k);
        candidates.sort_unstable_by_key(|(i, _)| *i);
    }
    out.extend_from_slice(candidates);
}

/// Append the values of `row` that are not below `bound` to `out` with their positions. For bodies of `dispatch!`.
#[inline(always)]
pub fn at_least(row: &[f32], bound: f32, out: &mut Vec<(u32, f32)>) {
    for (group, values) in row.chunks(GROUP).enumerate() {
        let mut any = false;
        for value in values {
            any |= *value >= bound;
        }
        if any {
            for (at, value) in values.iter().enumerate() {
                if *value >= bound {
                    out.push(((group * GROUP + at) as u32, *value));
                }
            }
        }
    }
}

/// A value that the `k` largest reach unless they are below `least`: of the maxima of disjoint groups the k-th largest.
/// Group `g` has the elements `g`, `g + n`, `g + 2 n` ... of `n` groups, which makes the maxima a few passes over vectors.
#[inline(always)]
fn bound(row: &[f32], k: usize, least: f32, maxima: &mut Vec<f32>) -> f32 {
    let n = row.len() / GROUP;
    if n < k {
        return least;
    }
    maxima.clear();
    maxima.extend_from_slice(&row[..n]);
    for part in row.chunks_exact(n).skip(1) {
        for (maximum, value) in maxima.iter_mut().zip(part) {
            *maximum = if *value > *maximum { *value } else { *maximum };
        }
    }
    let (_, kth, _) = maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    kth.max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn by_sorting(row: &[f32], k: usize, least: f32) -> Vec<(u32, f32)> {
        let mut all: Vec<_> = (0..).zip(row.iter().copied()).filter(|(_, v)| *v >= least).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.sort_by_key(|(i, _)| *i);
        all
    }

    #[test]
    fn agrees_with_sorting_ties_and_short_rows_included() {
        let mut rng = Rng::new(3, 0);
        let mut scratch = Scratch::default();
        for (n, k) in [(1, 1), (10, 3), (31, 40), (500, 7), (2048, 32), (2050, 64), (100, 0)] {
            for coarse in [false, true] {
                let draw = |rng: &mut Rng| if coarse { rng.below(5) as f32 - 1.0 } else { rng.normal() as f32 };
                let row: Vec<f32> = (0..n).map(|_| draw(&mut rng)).collect();
                for least in [POSITIVE, f32::NEG_INFINITY] {
                    let mut out = Vec::new();
                    top_k(&row, k, least, &mut scratch, &mut out);
                    assert_eq!(out, by_sorting(&row, k, least), "{n} {k} {coarse} {least}");
                }
            }
        }
    }
}
