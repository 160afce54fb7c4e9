//! `gated`: one part of a latent says whether it fires, another how strongly. The gates, which a step function cuts off from
//! the loss, are taught by a reconstruction of their own and by an L1 penalty.

use super::{
    dense::{Columns, Rule, Token},
    gradients::Task,
    weights::Weights,
};

/// Places in [`Weights::vectors`].
const R_MAG: usize = 0;
const B_MAG: usize = 1;

pub struct Gated<'a> {
    weights: &'a Weights,
    l1: f32,
    /// `exp(r_mag)`
    scale: Vec<f32>,
}

impl<'a> Gated<'a> {
    pub fn new(weights: &'a Weights, l1: f32) -> Self {
        Self { weights, l1, scale: weights.vectors[R_MAG].iter().map(|r| r.exp()).collect() }
    }
}

impl Rule for Gated<'_> {
    const GATES: bool = true;

    fn forward(&self, pre: &[f32], latents: &mut [f32]) {
        let biases = self.weights.b_enc.iter().zip(&self.weights.vectors[B_MAG]);
        for (((f, pre), scale), (b_gate, b_mag)) in latents.iter_mut().zip(pre).zip(&self.scale).zip(biases) {
            *f = if *pre > 0.0 { ((pre - b_gate) * scale + b_mag).max(0.0) } else { 0.0 };
        }
    }

    fn backward(&self, task: &Task, token: Token, by_latent: &mut [f32], columns: &mut Columns) {
        let by_one = self.l1 / task.tokens() as f32;
        let Columns { by_length, vectors, penalty, .. } = columns;
        let [by_r_mag, by_b_mag] = &mut vectors[..] else { return };
        let of_latent = task.lengths.iter().zip(&self.scale).zip(&self.weights.b_enc);
        let sums = by_length.iter_mut().zip(by_r_mag).zip(by_b_mag);
        let of_token = token.pre.iter().zip(token.latents).zip(token.by_gate);
        let mut sum = 0.0;
        for (((by, ((pre, f), by_gate)), ((length, scale), b_gate)), ((by_length, by_r_mag), by_b_mag)) in
            by_latent.iter_mut().zip(of_token).zip(of_latent).zip(sums)
        {
            let by_magnitude = if *f > 0.0 { *by } else { 0.0 };
            *by_b_mag += by_magnitude;
            *by_r_mag += by_magnitude * scale * (pre - b_gate);
            let gate = pre.max(0.0);
            let by_pre = if *pre > 0.0 { by_gate + by_one * length } else { 0.0 };
            *by_length += by_one * gate;
            sum += gate * length;
            *by = by_magnitude * scale + by_pre;
        }
        *penalty += f64::from(self.l1 * sum);
    }

    /// Magnitudes read the input past `b_gate`, by their own bias.
    fn by_b_enc(&self, columns: &Columns) -> Vec<f32> {
        let by_magnitude = columns.vectors[B_MAG].iter().zip(&self.scale);
        columns.by_pre.iter().zip(by_magnitude).map(|(all, (by, scale))| all - by * scale).collect()
    }
}
