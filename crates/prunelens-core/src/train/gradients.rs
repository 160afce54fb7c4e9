//! What the two ways of computing gradients share.
//!
//! With `N` tokens, `c = x - b_dec`, `pre = c W_encᵀ + b_enc`, `f` the latents chosen of `pre`, `x̂ = f W_dec + b_dec`, and
//! for the auxiliary loss `e = x - x̂` held fixed, `z` the largest of the dead latents and `ê = z W_dec`, the loss is
//!
//! `1/N Σ ( |x̂ - x|² + l1 Σ_j f_j + auxiliary |ê - e|² )`.

use prunelens_kernels::simd::dispatch;
use rayon::prelude::*;

use super::{linalg::axpy, weights::Weights};

/// Weights of the loss' terms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    pub l1: f32,
    pub auxiliary: f32,
    /// Dead latents that take part for each token.
    pub auxiliary_k: usize,
}

/// Gradients of both matrices in full.
pub struct Matrices {
    pub(super) encoder: Vec<f32>,
    pub(super) decoder: Vec<f32>,
    pub(super) d_in: usize,
}

impl Matrices {
    #[inline(always)]
    pub fn add_to<const FMA: bool>(&self, latent: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        let range = latent * self.d_in..(latent + 1) * self.d_in;
        axpy::<FMA>(encoder, 1.0, &self.encoder[range.clone()]);
        axpy::<FMA>(decoder, 1.0, &self.decoder[range]);
    }
}

/// A latent's activation on a token and the gradient of the loss by its pre-activation there. Rows beyond the batch
/// stand for the auxiliary loss of row `row - batch`.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) row: u32,
    pub(super) value: f32,
    pub(super) gradient: f32,
}

/// Gradients by latent: entries of latent j are `entries[starts[j]..starts[j + 1]]`.
pub struct Entries {
    pub(super) starts: Vec<usize>,
    pub(super) entries: Vec<Entry>,
    /// By the reconstruction: `2 (x̂ - x) / N` for each token, then the same of the auxiliary loss.
    pub(super) by_output: Vec<f32>,
    /// `x - b_dec`
    pub(super) centred: Vec<f32>,
    pub(super) d_in: usize,
}

impl Entries {
    #[inline(always)]
    pub fn add_to<const FMA: bool>(&self, latent: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        let batch = self.centred.len() / self.d_in;
        for entry in &self.entries[self.starts[latent]..self.starts[latent + 1]] {
            let row = entry.row as usize;
            axpy::<FMA>(decoder, entry.value, &self.by_output[row * self.d_in..][..self.d_in]);
            axpy::<FMA>(encoder, entry.gradient, &self.centred[row % batch * self.d_in..][..self.d_in]);
        }
    }
}

/// Gradients of `W_enc` and `W_dec`, to be read a latent at a time.
pub enum ByLatent {
    Sparse(Entries),
    Dense(Matrices),
}

impl ByLatent {
    /// Add the gradients of one latent's encoder and decoder row.
    #[inline(always)]
    pub fn add_to<const FMA: bool>(&self, latent: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        match self {
            Self::Sparse(entries) => entries.add_to::<FMA>(latent, encoder, decoder),
            Self::Dense(matrices) => matrices.add_to::<FMA>(latent, encoder, decoder),
        }
    }
}

pub struct Gradients {
    pub b_enc: Vec<f32>,
    pub b_dec: Vec<f32>,
    /// Latents that fired on a token of the batch.
    pub fired: Vec<bool>,
    pub latents: ByLatent,
}

/// Gradient of `b_dec`: by the output directly, and through the encoder's input, from which `b_dec` is subtracted.
pub fn encoder_path(by_output: &[f32], b_enc: &[f32], weights: &Weights) -> Vec<f32> {
    const BLOCK: usize = 64;
    let d_in = weights.d_in;
    let direct = by_output.par_chunks(BLOCK * d_in).map(|rows| weighted_sum(rows, d_in, None));
    let encoder = weights.w_enc.par_chunks(BLOCK * d_in).zip(b_enc.par_chunks(BLOCK));
    let through = encoder.map(|(rows, scales)| weighted_sum(rows, d_in, Some(scales)));
    // Sums of blocks, added in order: the result does not depend on how threads shared the work.
    let parts: Vec<_> = direct.chain(through).collect();
    let mut total = vec![0.0; d_in];
    parts.iter().for_each(|part| total.iter_mut().zip(part).for_each(|(total, part)| *total += part));
    total
}

dispatch! {
    /// Sum of rows, or minus their sum weighted by `scales`.
    fn weighted_sum(rows: &[f32], d_in: usize, scales: Option<&[f32]>) -> Vec<f32> {
        let mut sum = vec![0.0; d_in];
        for (at, row) in rows.chunks_exact(d_in).enumerate() {
            axpy::<FMA>(&mut sum, scales.map_or(1.0, |scales| -scales[at]), row);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::train::{
        dense,
        sparse::{self, Selection},
    };

    const D_IN: usize = 5;
    const D_SAE: usize = 12;
    const TOKENS: usize = 70;

    /// All weights in f64, in the order W_enc, b_enc, W_dec, b_dec.
    fn flat(weights: &Weights) -> Vec<f64> {
        let parts = [&weights.w_enc, &weights.b_enc, &weights.w_dec, &weights.b_dec];
        parts.into_iter().flatten().map(|w| f64::from(*w)).collect()
    }

    /// The loss as the module's documentation gives it, in plain f64 loops, with the sizes of its terms. The errors that
    /// the auxiliary loss aims at are taken from `base`.
    fn reference(parameters: &[f64], base: &[f64], x: &[f32], selection: Selection, loss: &Loss, dead: &[u32]) -> f64 {
        let matrix = D_IN * D_SAE;
        let forward = |p: &[f64], x: &[f32]| {
            let (w_dec, b_dec) = (&p[matrix + D_SAE..2 * matrix + D_SAE], &p[2 * matrix + D_SAE..]);
            let pre: Vec<f64> = (0..D_SAE)
                .map(|j| p[matrix + j] + (0..D_IN).map(|i| (f64::from(x[i]) - b_dec[i]) * p[j * D_IN + i]).sum::<f64>())
                .collect();
            let largest = |among: Vec<usize>, k: usize| {
                let mut among: Vec<_> = among.into_iter().filter(|j| pre[*j] > 0.0).collect();
                among.sort_by(|a, b| pre[*b].total_cmp(&pre[*a]));
                among.truncate(k);
                among
            };
            let k = if let Selection::TopK(k) = selection { k } else { D_SAE };
            let active = largest((0..D_SAE).collect(), k);
            let dead = largest(dead.iter().map(|j| *j as usize).collect(), loss.auxiliary_k);
            let decode = |active: &[usize]| {
                (0..D_IN).map(|i| active.iter().map(|j| pre[*j] * w_dec[j * D_IN + i]).sum::<f64>()).collect::<Vec<_>>()
            };
            let error: Vec<f64> = (0..D_IN).map(|i| decode(&active)[i] + b_dec[i] - f64::from(x[i])).collect();
            (error, decode(&dead), active.iter().map(|j| pre[*j]).sum::<f64>())
        };
        let mut total = 0.0;
        for x in x.chunks(D_IN) {
            let (error, by_dead, l1) = forward(parameters, x);
            let (fixed, _, _) = forward(base, x);
            total += error.iter().map(|e| e * e).sum::<f64>() + f64::from(loss.l1) * l1;
            let auxiliary = by_dead.iter().zip(&fixed).map(|(a, e)| (a + e).powi(2)).sum::<f64>();
            total += f64::from(loss.auxiliary) * auxiliary;
        }
        total / TOKENS as f64
    }

    fn in_full(gradients: &Gradients) -> Vec<f32> {
        let (mut encoder, mut decoder) = (vec![0.0; D_IN * D_SAE], vec![0.0; D_IN * D_SAE]);
        for (latent, (e, d)) in encoder.chunks_mut(D_IN).zip(decoder.chunks_mut(D_IN)).enumerate() {
            gradients.latents.add_to::<false>(latent, e, d);
        }
        [encoder, gradients.b_enc.clone(), decoder, gradients.b_dec.clone()].concat()
    }

    fn problem() -> (Weights, Vec<f32>) {
        let mut rng = Rng::new(11, 0);
        let x: Vec<f32> = (0..TOKENS * D_IN).map(|_| rng.normal() as f32 + 0.3).collect();
        let mut weights = Weights::init(D_IN, D_SAE, &x, &mut rng);
        // Untie and shift, so that no term of a gradient happens to cancel.
        weights.w_enc.iter_mut().chain(&mut weights.b_enc).for_each(|w| *w += 0.2 * rng.normal() as f32);
        (weights, x)
    }

    fn compare(ours: &[f32], weights: &Weights, x: &[f32], selection: Selection, loss: &Loss, dead: &[u32]) {
        let base = flat(weights);
        let step = 1e-7;
        for (at, ours) in ours.iter().enumerate() {
            let moved = |by: f64| {
                let mut parameters = base.clone();
                parameters[at] += by;
                reference(&parameters, &base, x, selection, loss, dead)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (f64::from(*ours) - expected).abs();
            assert!(error < 2e-5 * (1.0 + expected.abs()), "parameter {at}: {ours}, finite differences {expected}");
        }
    }

    #[test]
    fn sparse_gradients_of_top_k_with_auxiliary_loss_agree_with_finite_differences() {
        let (weights, x) = problem();
        let loss = Loss { l1: 0.0, auxiliary: 0.5, auxiliary_k: 2 };
        let (selection, dead) = (Selection::TopK(3), [1, 4, 5, 10]);
        let (sums, gradients) = sparse::gradients(&weights, &x, selection, &loss, &dead);
        compare(&in_full(&gradients), &weights, &x, selection, &loss, &dead);
        let expected = reference(&flat(&weights), &flat(&weights), &x, selection, &loss, &dead);
        let ours = (sums.squared_error + 0.5 * sums.auxiliary) / TOKENS as f64;
        assert!((ours - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn both_ways_of_computing_l1_gradients_agree_with_finite_differences_and_in_their_figures() {
        let (weights, x) = problem();
        let loss = Loss { l1: 0.7, ..Loss::default() };
        let (sparse_sums, sparse) = sparse::gradients(&weights, &x, Selection::Positive, &loss, &[]);
        let (dense_sums, dense) = dense::gradients(&weights, &x, &loss);
        compare(&in_full(&sparse), &weights, &x, Selection::Positive, &loss, &[]);
        compare(&in_full(&dense), &weights, &x, Selection::Positive, &loss, &[]);
        assert_eq!(sparse.fired, dense.fired);
        for (a, b) in sparse_sums.to_row().into_iter().zip(dense_sums.to_row()) {
            assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
        }
    }
}
