//! The weights under training and how they begin.

use rayon::prelude::*;

use super::{
    kind::{Architecture, Decoder},
    linalg::dot,
};
use crate::{rng::Rng, sae::Activation};

/// Weights of an SAE; latents are rows of both matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub d_in: usize,
    pub d_sae: usize,
    /// `[d_sae, d_in]`
    pub w_enc: Vec<f32>,
    pub b_enc: Vec<f32>,
    /// `[d_sae, d_in]`
    pub w_dec: Vec<f32>,
    pub b_dec: Vec<f32>,
    /// What the kind has besides, one number a latent each: [`Architecture::vectors`].
    pub vectors: Vec<Vec<f32>>,
}

/// Length that free rows of the decoder begin with, as in SAELens.
const FREE: f32 = 0.1;

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
            vectors: Vec::new(),
        }
    }

    /// The same for a kind, and for what is asked of its decoder.
    pub fn init_for(self, architecture: &Architecture, decoder: Decoder) -> Self {
        let vectors = architecture.vectors_at_start().into_iter().map(|value| vec![value; self.d_sae]).collect();
        let mut weights = Self { vectors, ..self };
        if decoder == Decoder::Free {
            weights.w_enc.iter_mut().chain(&mut weights.w_dec).for_each(|w| *w *= FREE);
        }
        weights
    }

    /// Lengths of the decoder's rows.
    pub fn lengths(&self, decoder: Decoder) -> Vec<f32> {
        match decoder {
            Decoder::Unit => vec![1.0; self.d_sae],
            Decoder::Free => self.w_dec.par_chunks(self.d_in).map(|row| dot::<false>(row, row).sqrt()).collect(),
        }
    }

    /// The same SAE with decoder rows of length 1, for activations `factor` times smaller than those trained on. All kinds
    /// commute with positive factors: lengths go from decoder to encoder, and of the factor only biases and thresholds
    /// change, so that latents come in units of the activations. `threshold` is that of a kind that chooses among a batch.
    pub fn finish(
        mut self,
        architecture: &Architecture,
        decoder: Decoder,
        factor: f32,
        threshold: f64,
    ) -> (Self, Activation) {
        let lengths = self.lengths(decoder);
        let usable = |length: f32| if length > 0.0 { length } else { 1.0 };
        if decoder == Decoder::Free {
            let rows = self.w_enc.chunks_mut(self.d_in).zip(self.w_dec.chunks_mut(self.d_in));
            for ((encoder, row), length) in rows.zip(&lengths) {
                encoder.iter_mut().for_each(|w| *w *= length);
                row.iter_mut().for_each(|w| *w /= usable(*length));
            }
        }
        let rescale = |bias: &mut Vec<f32>| bias.iter_mut().zip(&lengths).for_each(|(b, length)| *b *= length / factor);
        rescale(&mut self.b_enc);
        self.b_dec.iter_mut().for_each(|b| *b /= factor);
        let mut vectors = std::mem::take(&mut self.vectors).into_iter();
        let mut next = || vectors.next().unwrap_or_default();
        let activation = match architecture {
            Architecture::TopK { k } => Activation::TopK { k: *k, rescale_by_decoder_norm: false },
            Architecture::Standard { .. } => Activation::Relu,
            Architecture::BatchTopK(_) | Architecture::Matryoshka { .. } => {
                Activation::JumpRelu { threshold: vec![threshold as f32 / factor; self.d_sae] }
            }
            Architecture::JumpRelu(_) => {
                let mut threshold = next();
                rescale(&mut threshold);
                Activation::JumpRelu { threshold }
            }
            Architecture::Gated { .. } => {
                let (r_mag, mut b_mag) = (next(), next());
                rescale(&mut b_mag);
                Activation::Gated { r_mag, b_mag }
            }
        };
        (self, activation)
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
    /// Columns that one thread sums at a time, each over the rows in their order: threads change no sum.
    const COLUMNS: usize = 64;
    let mut median = vec![0.0f64; d_in];
    let mut weights = vec![1.0f64; rows.len() / d_in];
    for _ in 0..ITERATIONS {
        let total: f64 = weights.iter().sum();
        if total == 0.0 {
            break;
        }
        median.par_chunks_mut(COLUMNS).enumerate().for_each(|(at, sums)| {
            sums.fill(0.0);
            for (row, weight) in rows.chunks_exact(d_in).zip(&weights) {
                let share = weight / total;
                sums.iter_mut().zip(&row[at * COLUMNS..]).for_each(|(sum, x)| *sum += share * f64::from(*x));
            }
        });
        rows.par_chunks_exact(d_in).zip(&mut weights).for_each(|(row, weight)| {
            let distance = row.iter().zip(&median).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>().sqrt();
            *weight = 1.0 / distance.max(1e-6);
        });
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

    #[test]
    fn a_finished_sae_reconstructs_as_the_one_in_training() {
        let (d_in, d_sae, factor, threshold) = (4, 10, 0.3, 0.4);
        let batch = crate::train::Batch::new(2.0);
        for kind in [
            Architecture::Standard { l1: 1.0, l1_warm_up: 0.0 },
            Architecture::BatchTopK(batch),
            Architecture::Matryoshka { batch, widths: vec![d_sae] },
            Architecture::Gated { l1: 1.0, l1_warm_up: 0.0 },
            Architecture::JumpRelu(crate::train::Jump::default()),
        ] {
            let mut rng = Rng::new(6, 0);
            let mut weights = Weights::init(d_in, d_sae, &[], &mut rng).init_for(&kind, Decoder::Free);
            let Weights { w_enc, b_enc, w_dec, b_dec, vectors, .. } = &mut weights;
            for values in [w_enc, b_enc, w_dec, b_dec].into_iter().chain(vectors) {
                values.iter_mut().for_each(|w| *w += 0.5 * rng.normal() as f32);
            }
            let lengths = weights.lengths(Decoder::Free);
            let in_training = |latent: usize, pre: f32| {
                let of = |vector: usize| weights.vectors[vector][latent];
                let fires = match &kind {
                    Architecture::BatchTopK(_) | Architecture::Matryoshka { .. } => pre * lengths[latent] > threshold,
                    // As trained, with thresholds not below 0.
                    Architecture::JumpRelu(_) => pre > of(0).max(0.0),
                    _ => pre > 0.0,
                };
                match &kind {
                    Architecture::Gated { .. } if fires => {
                        ((pre - weights.b_enc[latent]) * of(0).exp() + of(1)).max(0.0)
                    }
                    _ if fires => pre,
                    _ => 0.0,
                }
            };
            let (finished, activation) = weights.clone().finish(&kind, Decoder::Free, factor, f64::from(threshold));
            let reconstruct = |of: &Weights, x: &[f32], value: &dyn Fn(usize, f32) -> f32| {
                let mut out = of.b_dec.clone();
                let rows = of.w_enc.chunks(d_in).zip(of.w_dec.chunks(d_in)).enumerate();
                for (latent, (encoder, decoder)) in rows {
                    let read: f32 = x.iter().zip(&of.b_dec).zip(encoder).map(|((x, b), w)| (x - b) * w).sum();
                    let value = value(latent, read + of.b_enc[latent]);
                    out.iter_mut().zip(decoder).for_each(|(out, w)| *out += value * w);
                }
                out
            };
            for _ in 0..20 {
                let x: Vec<f32> = (0..d_in).map(|_| 5.0 * rng.normal() as f32).collect();
                let scaled: Vec<f32> = x.iter().map(|x| x * factor).collect();
                let expected = reconstruct(&weights, &scaled, &in_training);
                let value = |latent: usize, pre: f32| activation.value(latent, pre, &finished.b_enc);
                for (ours, expected) in reconstruct(&finished, &x, &value).iter().zip(expected) {
                    assert!((ours * factor - expected).abs() < 1e-4, "{kind:?}: {ours} {}", expected / factor);
                }
            }
            for row in finished.w_dec.chunks(d_in) {
                assert!((dot::<false>(row, row) - 1.0).abs() < 1e-5);
            }
        }
    }
}
