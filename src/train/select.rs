//! The k largest of a row, fast for rows of thousands and k of dozens.

const GROUP: usize = 16;

/// Scratch space of [`top_k`], to be kept between rows.
#[derive(Default)]
pub struct Scratch {
    maxima: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

/// Append the `k` largest positive values of `row` to `out` with their positions, which ascend. Among equal values the
/// lowest positions are taken.
#[inline(always)]
pub fn top_k(row: &[f32], k: usize, scratch: &mut Scratch, out: &mut Vec<(u32, f32)>) {
    if k == 0 {
        return;
    }
    // At least k elements reach the k-th largest of the groups' maxima, so nothing below it can be chosen.
    let mut bound = f32::MIN_POSITIVE;
    let groups = row.len().div_ceil(GROUP);
    if groups > k {
        scratch.maxima.clear();
        scratch.maxima.extend(row.chunks(GROUP).map(maximum));
        let (_, kth, _) = scratch.maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        bound = bound.max(*kth);
    }
    let candidates = &mut scratch.candidates;
    candidates.clear();
    for (group, values) in row.chunks(GROUP).enumerate() {
        if maximum(values) >= bound {
            let first = (group * GROUP) as u32;
            candidates.extend((first..).zip(values).filter(|(_, v)| **v >= bound).map(|(i, v)| (i, *v)));
        }
    }
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        candidates.truncate(k);
        candidates.sort_unstable_by_key(|(i, _)| *i);
    }
    out.extend_from_slice(candidates);
}

#[inline(always)]
fn maximum(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::Rng;

    fn by_sorting(row: &[f32], k: usize) -> Vec<(u32, f32)> {
        let mut all: Vec<_> = (0..).zip(row.iter().copied()).filter(|(_, v)| *v > 0.0).collect();
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
                let mut out = Vec::new();
                top_k(&row, k, &mut scratch, &mut out);
                assert_eq!(out, by_sorting(&row, k), "{n} {k} {coarse}");
            }
        }
    }
}
