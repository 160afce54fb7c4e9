//! How activations lie about zero and about their mean, token by token.

use rayon::prelude::*;

/// Of tokens of which some count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Sum of `x` over those that count.
    pub sum: Vec<f64>,
    /// `|x|^2` of every token.
    pub norm_sq: Vec<f64>,
    /// `|x - mean x|^2` of every token, with the mean over those that count.
    pub centred_sq: Vec<f64>,
}

impl Spread {
    /// Of rows `x [tokens, d_in]`; `kept` are those that count.
    pub fn of(x: &[f32], d_in: usize, kept: &[bool]) -> Self {
        let mut sum = vec![0.0; d_in];
        for (row, _) in x.chunks_exact(d_in).zip(kept).filter(|(_, kept)| **kept) {
            sum.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
        }
        let mean: Vec<f64> = sum.iter().map(|s| s / counted(kept)).collect();
        let (norm_sq, centred_sq) = x
            .par_chunks_exact(d_in)
            .map(|row| {
                row.iter().zip(&mean).fold((0.0, 0.0), |(norm, centred), (&v, &m)| {
                    let v = f64::from(v);
                    (norm + v * v, centred + (v - m) * (v - m))
                })
            })
            .unzip();
        Self { sum, norm_sq, centred_sq }
    }
}

/// What sums are divided by.
pub(crate) fn counted(kept: &[bool]) -> f64 {
    kept.iter().filter(|kept| **kept).count().max(1) as f64
}
