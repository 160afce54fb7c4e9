//! Adam on the weights of an SAE.

use prunelens_kernels::simd::dispatch;
use rayon::prelude::*;

use super::{
    gradients::Gradients,
    kind::Decoder,
    weights::{Weights, normalize},
};

pub(super) const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;

/// What PyTorch adds to the length that gradients are cut by.
const CLIP_EPSILON: f64 = 1e-6;

/// Running means of one tensor's gradients and of their squares.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Of gradients.
    pub first: Vec<f32>,
    /// Of their squares.
    pub second: Vec<f32>,
}

impl Moments {
    fn zeros(n: usize) -> Self {
        Self { first: vec![0.0; n], second: vec![0.0; n] }
    }
}

/// State of the optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Steps taken.
    pub steps: u64,
    /// As `w_enc` of the weights.
    pub w_enc: Moments,
    /// As `b_enc` of the weights.
    pub b_enc: Moments,
    /// As `w_dec` of the weights.
    pub w_dec: Moments,
    /// As `b_dec` of the weights.
    pub b_dec: Moments,
    /// As `vectors` of the weights.
    pub vectors: Vec<Moments>,
}

/// Factors of one step.
#[derive(Clone, Copy)]
struct Step {
    /// On gradients: below 1 where they are cut.
    factor: f32,
    rate: f32,
    /// Inverse of `1 - beta2^t`.
    second_correction: f32,
}

impl Adam {
    pub(super) fn new(weights: &Weights) -> Self {
        let Weights { d_in, d_sae, vectors, .. } = weights;
        let [matrix, latents, input] = [d_in * d_sae, *d_sae, *d_in].map(Moments::zeros);
        let vectors = vec![latents.clone(); vectors.len()];
        Self { steps: 0, w_enc: matrix.clone(), b_enc: latents, w_dec: matrix, b_dec: input, vectors }
    }

    /// One step down `gradients`, cut to the length `clip`.
    pub(super) fn step(
        &mut self,
        weights: &mut Weights,
        gradients: &Gradients,
        learning_rate: f64,
        decoder: Decoder,
        clip: Option<f64>,
    ) {
        const BLOCK: usize = 16;
        self.steps += 1;
        let t = self.steps as f64;
        let step = Step {
            factor: clip.map_or(1.0, |clip| (clip / (gradients.length(weights, decoder) + CLIP_EPSILON)).min(1.0))
                as f32,
            rate: (learning_rate / (1.0 - BETAS.0.powf(t))) as f32,
            second_correction: (1.0 / (1.0 - BETAS.1.powf(t))) as f32,
        };
        let d_in = weights.d_in;
        let block = BLOCK * d_in;
        let columns = (
            weights.w_enc.par_chunks_mut(block),
            self.w_enc.first.par_chunks_mut(block),
            self.w_enc.second.par_chunks_mut(block),
            weights.w_dec.par_chunks_mut(block),
            self.w_dec.first.par_chunks_mut(block),
            self.w_dec.second.par_chunks_mut(block),
        );
        let scratch = || [vec![0.0; d_in], vec![0.0; d_in]];
        columns.into_par_iter().enumerate().for_each_init(
            scratch,
            |by, (at, (enc, enc_m, enc_v, dec, dec_m, dec_v))| {
                let encoder = Rows { weights: enc, first: enc_m, second: enc_v };
                let rows = Rows { weights: dec, first: dec_m, second: dec_v };
                update(step, gradients, at * BLOCK, d_in, decoder, encoder, rows, by);
            },
        );
        step.apply(&mut weights.b_enc, &mut self.b_enc.first, &mut self.b_enc.second, &gradients.b_enc);
        step.apply(&mut weights.b_dec, &mut self.b_dec.first, &mut self.b_dec.second, &gradients.b_dec);
        let vectors = weights.vectors.iter_mut().zip(&mut self.vectors).zip(&gradients.vectors);
        vectors.for_each(|((w, moments), g)| step.apply(w, &mut moments.first, &mut moments.second, g));
    }
}

/// Some rows of a matrix with their moments.
struct Rows<'a> {
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

dispatch! {
    /// Step the encoder and decoder rows of some latents, the first of which is `first`.
    fn update(
        step: Step, gradients: &Gradients<'_>, first: usize, d_in: usize, decoder: Decoder, encoder: Rows<'_>, rows: Rows<'_>,
        by: &mut [Vec<f32>; 2],
    ) {
        let [by_encoder, by_decoder] = by;
        for row in 0..encoder.weights.len() / d_in {
            let at = row * d_in..(row + 1) * d_in;
            let weights = &mut rows.weights[at.clone()];
            gradients.row::<FMA>(first + row, decoder, weights, by_encoder, by_decoder);
            step.apply(weights, &mut rows.first[at.clone()], &mut rows.second[at.clone()], by_decoder);
            if decoder == Decoder::Unit {
                normalize(weights);
            }
            let weights = &mut encoder.weights[at.clone()];
            step.apply(weights, &mut encoder.first[at.clone()], &mut encoder.second[at], by_encoder);
        }
    }
}

impl Step {
    #[inline(always)]
    fn apply(self, weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32]) {
        let (keep_first, keep_second) = (BETAS.0 as f32, BETAS.1 as f32);
        for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradients) {
            let g = self.factor * g;
            *m = keep_first * *m + (1.0 - keep_first) * g;
            *v = keep_second * *v + (1.0 - keep_second) * g * g;
            *w -= self.rate * *m / ((*v * self.second_correction).sqrt() + EPSILON);
        }
    }
}
