//! `jumprelu`: latents above a threshold that is learnt. A step has no gradient; near the threshold, within a band, its place
//! is taken by that of a ramp as wide as the band.

use super::{
    dense::{Columns, Rule, Token},
    gradients::Task,
    kind::{Jump, Sparsity},
};

pub struct JumpRelu<'a> {
    jump: &'a Jump,
    threshold: &'a [f32],
    /// Weight of the sparsity loss, so far.
    l0: f32,
    /// Whether each latent is dead; empty if none is pulled.
    dead: Vec<bool>,
}

impl<'a> JumpRelu<'a> {
    pub fn new(task: &Task<'a>, jump: &'a Jump, warmth: f32) -> Self {
        let mut dead = Vec::new();
        if jump.pull > 0.0 && !task.dead.is_empty() {
            dead = vec![false; task.weights.d_sae];
            task.dead.iter().for_each(|latent| dead[*latent as usize] = true);
        }
        Self { jump, threshold: &task.weights.vectors[0], l0: jump.l0 as f32 * warmth, dead }
    }

    /// The sparsity loss where it counts latents, and its gradient by their number.
    fn by_count(&self, active: f32) -> (f32, f32) {
        match self.jump.sparsity {
            Sparsity::Step => (self.l0 * active, self.l0),
            Sparsity::Tanh { .. } => (0.0, 0.0),
            Sparsity::Quadratic { target } => {
                let (target, over) = (target as f32, active - target as f32);
                (self.l0 * 2.0 / target * over * over, self.l0 * 4.0 / target * over)
            }
        }
    }
}

impl Rule for JumpRelu<'_> {
    fn forward(&self, pre: &[f32], latents: &mut [f32]) {
        for ((f, pre), threshold) in latents.iter_mut().zip(pre).zip(self.threshold) {
            *f = if *pre > *threshold { *pre } else { 0.0 };
        }
    }

    fn backward(&self, task: &Task, token: Token, by_latent: &mut [f32], columns: &mut Columns) {
        let tokens = task.tokens() as f32;
        let Columns { by_length, vectors, penalty, auxiliary, .. } = columns;
        let [by_threshold] = &mut vectors[..] else { return };
        let active = token.pre.iter().zip(self.threshold).filter(|(pre, threshold)| pre > threshold).count();
        let (loss, by_count) = self.by_count(active as f32);
        *penalty += f64::from(loss);

        if let Sparsity::Tanh { scale } = self.jump.sparsity {
            let scale = scale as f32;
            let steepest = self.l0 / tokens * scale;
            let of_latent = token.latents.iter().zip(task.lengths).zip(&mut *by_length);
            for (by, ((f, length), by_length)) in by_latent.iter_mut().zip(of_latent) {
                // Most do not fire; theirs is the slope at 0, which those inside the band pass on.
                let tanh = if *f == 0.0 { 0.0 } else { (scale * f * length).tanh() };
                let slope = steepest * (1.0 - tanh * tanh);
                *penalty += f64::from(self.l0 * tanh);
                *by += slope * length;
                *by_length += slope * f;
            }
        }

        let per_band = 1.0 / self.jump.bandwidth as f32;
        let by_step = by_count / tokens * per_band;
        let to_input = if self.jump.to_input { 1.0 } else { 0.0 };
        for (((by, pre), threshold), by_threshold) in
            by_latent.iter_mut().zip(token.pre).zip(self.threshold).zip(&mut *by_threshold)
        {
            let inside = ((pre - threshold) * per_band).abs() < 0.5;
            let ramp = if inside { threshold * per_band * *by + by_step } else { 0.0 };
            *by_threshold -= ramp;
            *by = if *pre > *threshold { *by } else { 0.0 } + to_input * ramp;
        }

        let pull = self.jump.pull as f32;
        for (latent, _) in self.dead.iter().enumerate().filter(|(_, dead)| **dead) {
            let below = self.threshold[latent] - token.pre[latent];
            if below > 0.0 {
                let length = task.lengths[latent];
                *auxiliary += f64::from(pull * below * length);
                by_threshold[latent] += pull * length / tokens;
                by_latent[latent] -= pull * length / tokens;
                by_length[latent] += pull * below / tokens;
            }
        }
    }
}
