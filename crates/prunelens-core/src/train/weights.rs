//! The weights under training and how they begin.

use super::linalg::dot;
use crate::rng::Rng;

/// Weights of an SAE; latents are rows of both matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub d_in: usize,
    pub d_sae: usize,
    /// `[d_sae, d_in]`
    pub w_enc: Vec<f32>,
    pub b_enc: Vec<f32>,
    /// `[d_sae, d_in]`, rows of length 1
    pub w_dec: Vec<f32>,
    pub b_dec: Vec<f32>,
}

impl Weights {
    /// Random unit directions, encoder and decoder tied; `b_dec` at the geometric median of `sample` (rows of `d_in`).
    pub fn init(d_in: usize, d_sae: usize, sample: &[f32], rng: &mut Rng) -> Self {
        let mut w_dec: Vec<f32> = (0..d_sae * d_in).map(|_| rng.normal() as f32).collect();
        w_dec.chunks_mut(d_in).for_each(normalize);
        Self {
            d_in,
            d_sae,
            w_enc: w_dec.clone(),
            b_enc: vec![0.0; d_sae],
            w_dec,
            b_dec: geometric_median(sample, d_in),
        }
    }

    /// The same SAE for activations `factor` times smaller than those trained on. ReLU and TopK commute with positive
    /// factors, so only the biases change: decoder rows keep length 1 and latents come in units of the activations.
    pub fn unscale(&mut self, factor: f32) {
        for bias in self.b_enc.iter_mut().chain(&mut self.b_dec) {
            *bias /= factor;
        }
    }
}

/// Scale to length 1; a zero row stays.
#[inline(always)]
pub fn normalize(row: &mut [f32]) {
    let length = dot::<false>(row, row).sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|w| *w /= length);
    }
}

/// The point with the least summed distance to all rows (Weiszfeld's iteration); zeros if there are no rows.
fn geometric_median(rows: &[f32], d_in: usize) -> Vec<f32> {
    const ITERATIONS: usize = 30;
    let mut median = vec![0.0f64; d_in];
    let mut weights = vec![1.0f64; rows.len() / d_in];
    for _ in 0..ITERATIONS {
        let total: f64 = weights.iter().sum();
        if total == 0.0 {
            break;
        }
        median.fill(0.0);
        for (row, weight) in rows.chunks_exact(d_in).zip(&weights) {
            median.iter_mut().zip(row).for_each(|(m, x)| *m += weight / total * f64::from(*x));
        }
        for (row, weight) in rows.chunks_exact(d_in).zip(&mut weights) {
            let distance = row.iter().zip(&median).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>().sqrt();
            *weight = 1.0 / distance.max(1e-6);
        }
    }
    median.into_iter().map(|m| m as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_an_outlier() {
        let median = geometric_median(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1000.0, 1000.0], 2);
        assert!(median.iter().all(|m| (0.0..=1.5).contains(m)), "{median:?}");
    }

    #[test]
    fn decoder_rows_begin_with_length_one_and_tied() {
        let weights = Weights::init(5, 9, &[], &mut Rng::new(0, 0));
        assert_eq!(weights.w_enc, weights.w_dec);
        assert_eq!(weights.b_dec, vec![0.0; 5]);
        for row in weights.w_dec.chunks(5) {
            assert!((row.iter().map(|w| w * w).sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
