//! What the two ways of computing gradients share: by lists of the latents that fire ([`super::sparse`]), and by matrix
//! products ([`super::dense`]).

use prunelens_kernels::simd::dispatch;
use rayon::prelude::*;

use super::{
    figures::Sums,
    kind::Decoder,
    linalg::{axpy, dot, sized},
    weights::Weights,
};

/// A batch and the SAE that it is for.
pub struct Task<'a> {
    pub weights: &'a Weights,
    /// Of the decoder's rows.
    pub lengths: &'a [f32],
    /// Rows of `d_in`.
    pub x: &'a [f32],
    /// Latents that have not fired for long.
    pub dead: &'a [u32],
}

impl Task<'_> {
    pub fn tokens(&self) -> usize {
        self.x.len() / self.weights.d_in
    }

    /// `x - b_dec`, written to `memory`.
    pub fn centred<'m>(&self, memory: &'m mut Vec<f32>) -> &'m [f32] {
        let Weights { d_in, b_dec, .. } = self.weights;
        let centred = sized(memory, self.x.len());
        let rows = centred.par_chunks_mut(*d_in).zip(self.x.par_chunks(*d_in));
        rows.for_each(|(out, x)| out.iter_mut().zip(x).zip(b_dec).for_each(|((out, x), b)| *out = x - b));
        centred
    }
}

/// What a batch gave.
pub struct Outcome<'a> {
    pub sums: Sums,
    pub gradients: Gradients<'a>,
    /// The least latent above zero that a choice among the batch left.
    pub least: Option<f32>,
}

/// Gradients of both matrices in full.
pub struct Matrices<'a> {
    pub(super) encoder: &'a [f32],
    pub(super) decoder: &'a [f32],
    pub(super) d_in: usize,
}

impl Matrices<'_> {
    #[inline(always)]
    pub fn add_to<const FMA: bool>(&self, latent: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        let range = latent * self.d_in..(latent + 1) * self.d_in;
        axpy::<FMA>(encoder, 1.0, &self.encoder[range.clone()]);
        axpy::<FMA>(decoder, 1.0, &self.decoder[range]);
    }
}

/// A latent's activation on a token and the gradient of the loss by its pre-activation there.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// Row of `by_output`; modulo the batch, the token.
    pub(super) row: u32,
    /// What the decoder's row is multiplied by.
    pub(super) value: f32,
    pub(super) gradient: f32,
}

/// Gradients by latent: entries of latent j are `entries[starts[j]..starts[j + 1]]`.
pub struct Entries<'a> {
    pub(super) starts: &'a [usize],
    pub(super) entries: &'a [Entry],
    /// By the reconstruction, a plane of the batch for each set of latents that has a loss in common.
    pub(super) by_output: &'a [f32],
    /// `x - b_dec`
    pub(super) centred: &'a [f32],
    pub(super) d_in: usize,
}

impl Entries<'_> {
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
pub enum ByLatent<'a> {
    Sparse(Entries<'a>),
    Dense(Matrices<'a>),
}

impl ByLatent<'_> {
    /// Add the gradients of one latent's encoder and decoder row.
    #[inline(always)]
    pub fn add_to<const FMA: bool>(&self, latent: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        match self {
            Self::Sparse(entries) => entries.add_to::<FMA>(latent, encoder, decoder),
            Self::Dense(matrices) => matrices.add_to::<FMA>(latent, encoder, decoder),
        }
    }
}

pub struct Gradients<'a> {
    pub b_enc: Vec<f32>,
    pub b_dec: Vec<f32>,
    pub vectors: Vec<Vec<f32>>,
    /// By the lengths of the decoder's rows, for losses that have them in it.
    pub by_length: Vec<f32>,
    /// Latents that fired on a token of the batch.
    pub fired: Vec<bool>,
    pub latents: ByLatent<'a>,
}

impl Gradients<'_> {
    /// Gradients of one latent's encoder and decoder row, written over what is there.
    #[inline(always)]
    pub fn row<const FMA: bool>(
        &self,
        latent: usize,
        decoder: Decoder,
        row: &[f32],
        by_encoder: &mut [f32],
        by_decoder: &mut [f32],
    ) {
        by_encoder.fill(0.0);
        by_decoder.fill(0.0);
        self.latents.add_to::<FMA>(latent, by_encoder, by_decoder);
        match decoder {
            Decoder::Unit => {
                let along = dot::<FMA>(by_decoder, row);
                axpy::<FMA>(by_decoder, -along, row);
            }
            Decoder::Free => {
                let length = dot::<FMA>(row, row).sqrt();
                if length > 0.0 {
                    axpy::<FMA>(by_decoder, self.by_length[latent] / length, row);
                }
            }
        }
    }

    /// Length of the gradients of all weights together.
    pub fn length(&self, weights: &Weights, decoder: Decoder) -> f64 {
        const BLOCK: usize = 16;
        let rows = weights.w_dec.par_chunks(BLOCK * weights.d_in).enumerate();
        let rows: Vec<f64> =
            rows.map(|(at, rows)| squares_of_rows(self, at * BLOCK, weights.d_in, decoder, rows)).collect();
        let vectors = self.vectors.iter().chain([&self.b_enc, &self.b_dec]);
        let vectors = vectors.flatten().map(|g| f64::from(*g).powi(2));
        rows.into_iter().chain(vectors).sum::<f64>().sqrt()
    }
}

dispatch! {
    fn squares_of_rows(gradients: &Gradients, first: usize, d_in: usize, decoder: Decoder, rows: &[f32]) -> f64 {
        let (mut by_encoder, mut by_decoder) = (vec![0.0; d_in], vec![0.0; d_in]);
        let mut sum = 0.0;
        for (at, row) in rows.chunks_exact(d_in).enumerate() {
            gradients.row::<FMA>(first + at, decoder, row, &mut by_encoder, &mut by_decoder);
            sum += f64::from(dot::<FMA>(&by_encoder, &by_encoder)) + f64::from(dot::<FMA>(&by_decoder, &by_decoder));
        }
        sum
    }
}

/// Gradient of `b_dec`: by the outputs directly, and through the encoder's input, from which `b_dec` is subtracted. `by_pre`
/// are the gradients by the pre-activations, summed over the tokens.
pub fn encoder_path(by_output: &[f32], by_pre: &[f32], weights: &Weights) -> Vec<f32> {
    const BLOCK: usize = 64;
    let d_in = weights.d_in;
    let direct = by_output.par_chunks(BLOCK * d_in).map(|rows| weighted_sum(rows, d_in, None));
    let encoder = weights.w_enc.par_chunks(BLOCK * d_in).zip(by_pre.par_chunks(BLOCK));
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
    use prunelens_kernels::select::{Auxiliary, Choice};

    use super::*;
    use crate::rng::Rng;
    use crate::train::{dense, relu::Relu, sparse, state::Work};

    const D_IN: usize = 5;
    const D_SAE: usize = 12;
    const TOKENS: usize = 70;

    /// What is computed, besides the weights.
    #[derive(Clone, Copy)]
    struct Problem<'a> {
        x: &'a [f32],
        choice: Choice,
        widths: &'a [usize],
        l1: f32,
        auxiliary: Auxiliary,
        dead: &'a [u32],
    }

    /// All weights in f64, in the order W_enc, b_enc, W_dec, b_dec.
    fn flat(weights: &Weights) -> Vec<f64> {
        let parts = [&weights.w_enc, &weights.b_enc, &weights.w_dec, &weights.b_dec];
        parts.into_iter().flatten().map(|w| f64::from(*w)).collect()
    }

    /// The loss as the table of kinds gives it, in plain f64 loops. The errors that the auxiliary loss aims at are taken
    /// from `base`.
    fn reference(parameters: &[f64], base: &[f64], problem: &Problem) -> f64 {
        let Problem { x, choice, widths, l1, auxiliary, dead } = *problem;
        let matrix = D_IN * D_SAE;
        let token = |at: usize| &x[at * D_IN..][..D_IN];
        let forward = |p: &[f64]| {
            let pre = |t: usize, j: usize| {
                let encoder = &p[j * D_IN..][..D_IN];
                let read = token(t).iter().zip(&p[2 * matrix + D_SAE..]).zip(encoder);
                p[matrix + j] + read.map(|((x, b), w)| (f64::from(*x) - b) * w).sum::<f64>()
            };
            let row = |j: usize| &p[matrix + D_SAE + j * D_IN..][..D_IN];
            let length = |j: usize| row(j).iter().map(|w| w * w).sum::<f64>().sqrt();
            let value = |(t, j): (usize, usize)| pre(t, j) * length(j);
            let largest = |mut among: Vec<(usize, usize)>, k: usize| {
                among.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
                among.truncate(k);
                among
            };
            let positive = |t: usize| (0..D_SAE).map(move |j| (t, j)).filter(|at| value(*at) > 0.0).collect::<Vec<_>>();
            let active: Vec<(usize, usize)> = match choice {
                Choice::Token(k) => (0..TOKENS).flat_map(|t| largest(positive(t), k)).collect(),
                Choice::Batch(count) => largest((0..TOKENS).flat_map(positive).collect(), count),
                Choice::Positive => (0..TOKENS).flat_map(positive).collect(),
            };
            let dead: Vec<_> = (0..TOKENS)
                .flat_map(|t| largest(dead.iter().map(|j| (t, *j as usize)).collect(), auxiliary.k))
                .collect();
            let decode = |active: &[(usize, usize)], t: usize, width: usize| {
                let active = active.iter().filter(|(at, j)| *at == t && *j < width);
                let mut out = vec![0.0; D_IN];
                active.for_each(|(_, j)| out.iter_mut().zip(row(*j)).for_each(|(out, w)| *out += pre(t, *j) * w));
                out
            };
            let errors = |width: usize| {
                let b_dec = &p[2 * matrix + D_SAE..];
                let all = (0..TOKENS).map(|t| {
                    let out = decode(&active, t, width);
                    out.iter().zip(b_dec).zip(token(t)).map(|((o, b), x)| o + b - f64::from(*x)).collect::<Vec<_>>()
                });
                all.collect::<Vec<_>>()
            };
            let by_dead: Vec<_> = (0..TOKENS).map(|t| decode(&dead, t, D_SAE)).collect();
            let penalty = active.iter().map(|at| value(*at)).sum::<f64>();
            (widths.iter().map(|width| errors(*width)).collect::<Vec<_>>(), by_dead, penalty)
        };
        let squares = |rows: &[Vec<f64>]| rows.iter().flatten().map(|e| e * e).sum::<f64>();
        let (errors, by_dead, penalty) = forward(parameters);
        let (fixed, _, _) = forward(base);
        let mut total = errors.iter().map(|errors| squares(errors)).sum::<f64>() + f64::from(l1) * penalty;
        if auxiliary.weight > 0.0 {
            let share = (dead.len() as f64 / auxiliary.k as f64).min(1.0);
            let left = by_dead.iter().flatten().zip(fixed.last().into_iter().flatten().flatten());
            total += f64::from(auxiliary.weight) * share * left.map(|(a, e)| (a + e).powi(2)).sum::<f64>();
        }
        total / TOKENS as f64
    }

    fn in_full(gradients: &Gradients, weights: &Weights) -> Vec<f32> {
        let (mut encoder, mut decoder) = (vec![0.0; D_IN * D_SAE], vec![0.0; D_IN * D_SAE]);
        let rows = encoder.chunks_mut(D_IN).zip(decoder.chunks_mut(D_IN)).zip(weights.w_dec.chunks(D_IN));
        for (latent, ((e, d), row)) in rows.enumerate() {
            gradients.row::<false>(latent, Decoder::Free, row, e, d);
        }
        [encoder, gradients.b_enc.clone(), decoder, gradients.b_dec.clone()].concat()
    }

    fn weights_and_batch() -> (Weights, Vec<f32>) {
        let mut rng = Rng::new(11, 0);
        let x: Vec<f32> = (0..TOKENS * D_IN).map(|_| rng.normal() as f32 + 0.3).collect();
        let mut weights = Weights::init(D_IN, D_SAE, &x, &mut rng);
        // Untie, shift and lengthen, so that no term of a gradient happens to cancel.
        weights.w_enc.iter_mut().chain(&mut weights.b_enc).for_each(|w| *w += 0.2 * rng.normal() as f32);
        weights
            .w_dec
            .chunks_mut(D_IN)
            .zip(1..)
            .for_each(|(row, at)| row.iter_mut().for_each(|w| *w *= 0.5 + at as f32 / 12.0));
        (weights, x)
    }

    fn compare(ours: &[f32], weights: &Weights, problem: &Problem) {
        let base = flat(weights);
        let step = 1e-7;
        for (at, ours) in ours.iter().enumerate() {
            let moved = |by: f64| {
                let mut parameters = base.clone();
                parameters[at] += by;
                reference(&parameters, &base, problem)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (f64::from(*ours) - expected).abs();
            assert!(error < 2e-5 * (1.0 + expected.abs()), "parameter {at}: {ours}, finite differences {expected}");
        }
    }

    fn sparse<'a>(weights: &Weights, problem: &Problem, work: &'a mut Work) -> Outcome<'a> {
        let lengths = weights.lengths(Decoder::Free);
        let task = Task { weights, lengths: &lengths, x: problem.x, dead: problem.dead };
        sparse::gradients(&task, problem.choice, problem.widths, problem.l1, problem.auxiliary, &mut work.sparse)
    }

    #[test]
    fn gradients_of_chosen_latents_agree_with_finite_differences() {
        let (weights, x) = weights_and_batch();
        let auxiliary = |k| Auxiliary { weight: 0.5, k };
        let (all, widths) = ([D_SAE], [2, 7, D_SAE]);
        let base = Problem {
            x: &x,
            choice: Choice::Token(3),
            widths: &all,
            l1: 0.0,
            auxiliary: auxiliary(2),
            dead: &[1, 4, 5, 10],
        };
        let batch = Choice::Batch(3 * TOKENS);
        for problem in [
            base,
            // Fewer dead latents than may take part: all do, those below zero too, and with less weight.
            Problem { auxiliary: auxiliary(8), ..base },
            Problem { choice: batch, ..base },
            Problem { choice: batch, widths: &widths, ..base },
        ] {
            let mut work = Work::default();
            let Outcome { sums, gradients, .. } = sparse(&weights, &problem, &mut work);
            compare(&in_full(&gradients, &weights), &weights, &problem);
            let expected = reference(&flat(&weights), &flat(&weights), &problem);
            assert!((sums.loss() - expected).abs() < 1e-5 * expected, "{} {expected}", sums.loss());
        }
    }

    #[test]
    fn both_ways_of_computing_l1_gradients_agree_with_finite_differences_and_in_their_figures() {
        let (weights, x) = weights_and_batch();
        let all = [D_SAE];
        let problem =
            Problem { x: &x, choice: Choice::Positive, widths: &all, l1: 0.7, auxiliary: Auxiliary::NONE, dead: &[] };
        let [mut by_lists, mut by_products] = [Work::default(), Work::default()];
        let lists = sparse(&weights, &problem, &mut by_lists);
        let lengths = weights.lengths(Decoder::Free);
        let task = Task { weights: &weights, lengths: &lengths, x: &x, dead: &[] };
        let products = dense::gradients(&task, &Relu { l1: problem.l1 }, &mut by_products.dense);
        for outcome in [&lists, &products] {
            compare(&in_full(&outcome.gradients, &weights), &weights, &problem);
        }
        assert_eq!(lists.gradients.fired, products.gradients.fired);
        for (a, b) in lists.sums.to_row().into_iter().zip(products.sums.to_row()) {
            assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
        }
        assert!((lists.sums.loss() - reference(&flat(&weights), &flat(&weights), &problem)).abs() < 1e-4);
    }
}
