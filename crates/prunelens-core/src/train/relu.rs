//! `standard`: ReLU, and an L1 penalty on latents times the lengths of their decoder rows.

use super::{
    dense::{Columns, Rule, Token},
    gradients::Task,
};

pub struct Relu {
    pub l1: f32,
}

impl Rule for Relu {
    fn forward(&self, pre: &[f32], latents: &mut [f32]) {
        latents.iter_mut().zip(pre).for_each(|(f, pre)| *f = pre.max(0.0));
    }

    fn backward(&self, task: &Task, token: Token, by_latent: &mut [f32], columns: &mut Columns) {
        let by_one = self.l1 / task.tokens() as f32;
        let mut sum = 0.0;
        for (((f, length), by), by_length) in
            token.latents.iter().zip(task.lengths).zip(by_latent).zip(&mut columns.by_length)
        {
            *by = if *f > 0.0 { *by + by_one * length } else { 0.0 };
            *by_length += by_one * f;
            sum += f * length;
        }
        columns.penalty += f64::from(self.l1 * sum);
    }
}
