//! What is left of a matrix's weights: all of them, those that are kept at a cut, or their codes of a few bits. Always made
//! from the untouched weights, so that every step is exact and the way back gives the first result.

use std::ops::Range;

use super::{Ranks, simd::dispatch};

/// In which order weights go.
#[derive(Clone, Copy, Debug)]
pub enum Ranking<'a> {
    /// Each weight has its rank.
    Each(&'a Ranks),
    /// Columns go one by one, the last of so many first.
    Columns(usize),
    /// Rows of so many weights go by their ranks, and a row that is gone is silent, whatever its bias.
    Rows(&'a [u32], usize),
}

impl Ranking<'_> {
    /// The rank of the weight at this place of the matrix.
    #[inline]
    pub fn get(&self, at: usize) -> u32 {
        match self {
            Self::Each(ranks) => ranks.get(at),
            Self::Columns(width) => (width - 1 - at % width) as u32,
            Self::Rows(ranks, width) => ranks[at / width],
        }
    }
}

/// What is left of a matrix's weights.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// All of them, as they are.
    All,
    /// Those whose rank reaches the cut.
    From(Ranking<'a>, u32),
    /// Whole codes, by the largest magnitude of each row (see [`largest`]).
    Codes {
        /// One number a row.
        largest: &'a [f32],
        /// Weights of a row.
        width: usize,
        /// Of a code, 2 to 8.
        bits: u32,
    },
}

impl Kept<'_> {
    /// Nothing is changed.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All | Self::From(_, 0))
    }

    /// The row is gone altogether.
    pub fn drops(&self, row: usize) -> bool {
        matches!(self, Self::From(Ranking::Rows(ranks, _), cut) if ranks[row] < *cut)
    }
}

dispatch! {
    fn keep_u16(weight: &[f32], ranks: &[u16], cut: u32, out: &mut [f32]) {
        let cut = cut as u16;
        for ((out, weight), rank) in out.iter_mut().zip(weight).zip(ranks) {
            *out = if *rank >= cut { *weight } else { 0.0 };
        }
    }
}

dispatch! {
    fn keep_u32(weight: &[f32], ranks: &[u32], cut: u32, out: &mut [f32]) {
        for ((out, weight), rank) in out.iter_mut().zip(weight).zip(ranks) {
            *out = if *rank >= cut { *weight } else { 0.0 };
        }
    }
}

dispatch! {
    /// Round to nearest, ties to even, as torch does: codes from `low` to `high`.
    fn round(weight: &[f32], scale: f32, low: f32, high: f32, out: &mut [f32]) {
        for (out, weight) in out.iter_mut().zip(weight) {
            *out = (*weight / scale).clamp(low, high).round_ties_even() * scale;
        }
    }
}

dispatch! {
    fn magnitude(row: &[f32]) -> f32 {
        let mut largest = 0.0_f32;
        for w in row {
            largest = largest.max(w.abs());
        }
        largest
    }
}

/// The largest magnitude of each row: all that rounding needs to know, at any number of bits.
pub fn largest(weight: &[f32], width: usize) -> Vec<f32> {
    weight.chunks(width.max(1)).map(magnitude).collect()
}

/// The step between two codes of a group with this largest magnitude (symmetric, as compressed-tensors' min-max rule).
pub fn code_step(largest: f32, bits: u32) -> f32 {
    let (low, high) = codes(bits);
    (largest / ((high - low) / 2.0)).max(f32::EPSILON)
}

/// The smallest and the largest code.
fn codes(bits: u32) -> (f32, f32) {
    let half = 1_i32 << (bits - 1);
    (-(half as f32), (half - 1) as f32)
}

/// Copy `weight[range]` with everything that is not kept set to zero, or rounded. The range begins where a row does.
pub fn keep(weight: &[f32], kept: Kept, range: Range<usize>, out: &mut [f32]) {
    let weight = &weight[range.clone()];
    match kept {
        Kept::From(Ranking::Each(Ranks::U16(ranks)), cut) if cut > 0 && cut <= u32::from(u16::MAX) => {
            keep_u16(weight, &ranks[range], cut, out);
        }
        Kept::From(Ranking::Each(Ranks::U32(ranks)), cut) if cut > 0 => keep_u32(weight, &ranks[range], cut, out),
        Kept::From(Ranking::Columns(width), cut) if cut > 0 => {
            let first = width.saturating_sub(cut as usize);
            for (out, weight) in out.chunks_mut(width).zip(weight.chunks(width)) {
                let first = first.min(weight.len());
                out[..first].copy_from_slice(&weight[..first]);
                out[first..].fill(0.0);
            }
        }
        Kept::From(Ranking::Rows(ranks, width), cut) if cut > 0 => {
            let ranks = &ranks[range.start / width..];
            for ((out, weight), rank) in out.chunks_mut(width).zip(weight.chunks(width)).zip(ranks) {
                if *rank >= cut { out.copy_from_slice(weight) } else { out.fill(0.0) }
            }
        }
        Kept::Codes { largest, width, bits } => {
            let (low, high) = codes(bits);
            let largest = &largest[range.start / width..];
            for ((out, weight), largest) in out.chunks_mut(width).zip(weight.chunks(width)).zip(largest) {
                round(weight, code_step(*largest, bits), low, high, out);
            }
        }
        Kept::All | Kept::From(..) => out.copy_from_slice(weight),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1013) as f32 / 500.0 - 1.0) * 0.37).collect()
    }

    fn kept(weight: &[f32], kept: Kept) -> Vec<f32> {
        let mut out = vec![f32::NAN; weight.len()];
        keep(weight, kept, 0..weight.len(), &mut out);
        out
    }

    #[test]
    fn columns_and_rows_go_whole() {
        let w = weights(6);
        assert_eq!(kept(&w, Kept::From(Ranking::Columns(3), 1)), [w[0], w[1], 0.0, w[3], w[4], 0.0]);
        let rows = Kept::From(Ranking::Rows(&[1, 0], 3), 1);
        assert_eq!(kept(&w, rows), [w[0], w[1], w[2], 0.0, 0.0, 0.0]);
        assert!(rows.drops(1) && !rows.drops(0) && !rows.is_all());
        assert_eq!(kept(&w, Kept::From(Ranking::Columns(3), 0)), w);
    }

    #[test]
    fn codes_are_few_and_near() {
        let (width, w) = (64, weights(128));
        let largest = largest(&w, width);
        for bits in 2..=8 {
            let rounded = kept(&w, Kept::Codes { largest: &largest, width, bits });
            for ((w, rounded), largest) in w.chunks(width).zip(rounded.chunks(width)).zip(&largest) {
                let step = code_step(*largest, bits);
                let mut codes: Vec<i64> = rounded.iter().map(|v| (v / step).round() as i64).collect();
                // The largest code of the positive side lies half a step under the largest weight.
                assert!(w.iter().zip(rounded).all(|(w, r)| (w - r).abs() <= step * 0.5001), "{bits} bits");
                codes.sort_unstable();
                codes.dedup();
                assert!(codes.len() <= 1 << bits, "{bits} bits: {} codes", codes.len());
            }
        }
    }

    #[test]
    fn a_row_of_zeros_stays() {
        let zeros = [0.0; 8];
        assert_eq!(kept(&zeros, Kept::Codes { largest: &largest(&zeros, 8), width: 8, bits: 2 }), zeros);
    }
}
