//! What reconstructions leave of activations, token by token.

use rayon::prelude::*;

/// What one token's activation `x` and its reconstruction have to do with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenErrors {
    /// `|x - out|^2`.
    pub resid_sq: f64,
    /// `|out|^2`.
    pub out_sq: f64,
    /// `x . out`.
    pub dot: f64,
}

impl TokenErrors {
    /// Of rows `[tokens, d_in]`.
    pub fn of(x: &[f32], recon: &[f32], d_in: usize) -> Vec<Self> {
        let token = |(x, out): (&[f32], &[f32])| {
            x.iter().zip(out).fold(Self::default(), |sums, (&x, &y)| {
                let (x, y) = (f64::from(x), f64::from(y));
                Self { resid_sq: sums.resid_sq + (x - y) * (x - y), out_sq: sums.out_sq + y * y, dot: sums.dot + x * y }
            })
        };
        x.par_chunks_exact(d_in).zip(recon.par_chunks_exact(d_in)).map(token).collect()
    }
}
