//! What the SAEs of one model read in one batch, with the sums over it that all variants share.

use rayon::prelude::*;

/// Activations of one batch at the hook, in the SAE's space, and which of them count.
pub struct Inputs {
    /// Width of an activation.
    pub d_in: usize,
    /// Tokens of a row; the batch is whole rows.
    pub length: usize,
    /// Row-major `[tokens, d_in]`, all tokens.
    pub x: Vec<f32>,
    /// Which tokens count: those that are not special.
    pub kept: Vec<bool>,
    /// How many of them.
    pub tokens: usize,
    /// `|x|^2` per token.
    pub norm_sq: Vec<f64>,
    /// Sum of `x` over the kept tokens.
    pub sum: Vec<f64>,
    /// `|x - mean x|^2` per token, with the mean over the kept tokens of this batch.
    pub centred_sq: Vec<f64>,
}

impl Inputs {
    /// Of rows of `length` tokens; `kept` are those that count.
    pub fn new(x: Vec<f32>, d_in: usize, length: usize, kept: Vec<bool>) -> Self {
        let mut sum = vec![0.0; d_in];
        for (row, _) in x.chunks_exact(d_in).zip(&kept).filter(|(_, kept)| **kept) {
            sum.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
        }
        let tokens = kept.iter().filter(|k| **k).count();
        let mean: Vec<f64> = sum.iter().map(|s| s / tokens.max(1) as f64).collect();
        let (norm_sq, centred_sq) = x
            .par_chunks_exact(d_in)
            .map(|row| {
                row.iter().zip(&mean).fold((0.0, 0.0), |(norm, centred), (&v, &m)| {
                    let v = f64::from(v);
                    (norm + v * v, centred + (v - m) * (v - m))
                })
            })
            .unzip();
        Self { d_in, length, x, kept, tokens, norm_sq, sum, centred_sq }
    }
}
