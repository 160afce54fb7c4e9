//! Adam on the weights of an SAE, keeping decoder rows at length 1.

use prunelens_kernels::simd::dispatch;
use rayon::prelude::*;

use super::{
    gradients::{ByLatent, Gradients},
    linalg::{axpy, dot},
    weights::{Weights, normalize},
};

const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;

/// Running means of one tensor's gradients and of their squares.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
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
    pub steps: u64,
    pub w_enc: Moments,
    pub b_enc: Moments,
    pub w_dec: Moments,
    pub b_dec: Moments,
}

/// Factors of one step.
#[derive(Clone, Copy)]
struct Step {
    rate: f32,
    /// Inverse of `1 - beta2^t`.
    second_correction: f32,
}

impl Adam {
    pub fn new(d_in: usize, d_sae: usize) -> Self {
        let [matrix, latents, input] = [d_in * d_sae, d_sae, d_in].map(Moments::zeros);
        Self { steps: 0, w_enc: matrix.clone(), b_enc: latents, w_dec: matrix, b_dec: input }
    }

    /// One step down `gradients`. Of a decoder row's gradient only the part across the row counts.
    pub fn step(&mut self, weights: &mut Weights, gradients: &Gradients, learning_rate: f64) {
        const BLOCK: usize = 16;
        self.steps += 1;
        let t = self.steps as f64;
        let step = Step {
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
        columns.into_par_iter().enumerate().for_each(|(at, (enc, enc_m, enc_v, dec, dec_m, dec_v))| {
            let encoder = Rows { weights: enc, first: enc_m, second: enc_v };
            let decoder = Rows { weights: dec, first: dec_m, second: dec_v };
            update(step, &gradients.latents, at * BLOCK, d_in, encoder, decoder);
        });
        step.apply(&mut weights.b_enc, &mut self.b_enc.first, &mut self.b_enc.second, &gradients.b_enc);
        step.apply(&mut weights.b_dec, &mut self.b_dec.first, &mut self.b_dec.second, &gradients.b_dec);
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
    fn update(step: Step, gradients: &ByLatent, first: usize, d_in: usize, encoder: Rows<'_>, decoder: Rows<'_>) {
        let (mut by_encoder, mut by_decoder) = (vec![0.0; d_in], vec![0.0; d_in]);
        for row in 0..encoder.weights.len() / d_in {
            let range = row * d_in..(row + 1) * d_in;
            by_encoder.fill(0.0);
            by_decoder.fill(0.0);
            gradients.add_to::<FMA>(first + row, &mut by_encoder, &mut by_decoder);
            let at = range.clone();
            step.apply(&mut encoder.weights[at.clone()], &mut encoder.first[at.clone()], &mut encoder.second[at], &by_encoder);
            let weights = &mut decoder.weights[range.clone()];
            let along = dot::<FMA>(&by_decoder, weights);
            axpy::<FMA>(&mut by_decoder, -along, weights);
            step.apply(weights, &mut decoder.first[range.clone()], &mut decoder.second[range], &by_decoder);
            normalize(weights);
        }
    }
}

impl Step {
    #[inline(always)]
    fn apply(self, weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32]) {
        let (keep_first, keep_second) = (BETAS.0 as f32, BETAS.1 as f32);
        for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradients) {
            *m = keep_first * *m + (1.0 - keep_first) * g;
            *v = keep_second * *v + (1.0 - keep_second) * g * g;
            *w -= self.rate * *m / ((*v * self.second_correction).sqrt() + EPSILON);
        }
    }
}
