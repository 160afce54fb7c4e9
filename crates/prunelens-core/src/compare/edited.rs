//! A prompt with edits in force: what the model then predicts.

use candle_core::Tensor;
use prunelens_kernels::{select::by_value, with_f32};

use super::{Prompt, Variant, splice::TokenLosses};
use crate::{
    edit::{Edits, apply},
    error::{Error, Result},
    model::Tick,
};

/// One variant's model, read with edits in force.
#[derive(Clone, Debug)]
pub struct Edited {
    /// Cross-entropy of the next token, and divergence of this prediction from the model's own without SAE and edits.
    pub losses: TokenLosses,
    /// Probabilities of every token after the last position, without and with the edits.
    before: Vec<f32>,
    after: Vec<f32>,
    logits: Tensor,
}

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Next {
    /// Its id.
    pub id: u32,
    /// Its probability without edits.
    pub before: f32,
    /// Its probability with them.
    pub after: f32,
}

impl Prompt {
    /// A variant with edits of the shared dictionary; `None` for `trained`, whose latents have other numbers, and for
    /// variants that are not there.
    pub fn edited(&mut self, variant: Variant, edits: &Edits, tick: Tick) -> Result<Option<Edited>> {
        if variant == Variant::Trained {
            return Ok(None);
        }
        self.finish_passes(tick)?;
        let Some((reader, x, captured, clean)) = self.parts(variant) else { return Ok(None) };
        let clean = clean.ok_or_else(|| Error::invalid("the model's own pass was not finished"))?;
        let edited = reader.replacement(captured, &apply(edits, reader, x, 0)?)?;
        let last = reader.model.resume(captured, &edited, tick)?.flatten_to(1)?;
        let losses = clean.against(&reader.model, &last, tick)?;
        let end = last.dim(0)?.saturating_sub(1);
        let own = reader.model.finish(captured, tick)?.flatten_to(1)?;
        let before = probabilities(&reader.model.logits(&own.narrow(0, end, 1)?.contiguous()?)?)?;
        let logits = reader.model.logits(&last)?;
        let after = probabilities(&logits.narrow(0, end, 1)?.contiguous()?)?;
        Ok(Some(Edited { losses, before, after, logits }))
    }
}

impl Edited {
    /// Logits `[tokens, vocabulary]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// The `n` likeliest next tokens with the edits, the likeliest first.
    pub fn top(&self, n: usize) -> Vec<Next> {
        let mut all: Vec<(u32, f32)> = (0..).zip(self.after.iter().copied()).collect();
        let n = n.min(all.len());
        if n == 0 {
            return Vec::new();
        }
        all.select_nth_unstable_by(n - 1, by_value);
        all.truncate(n);
        all.sort_by(by_value);
        all.into_iter().map(|(id, after)| Next { id, before: self.before[id as usize], after }).collect()
    }
}

/// Softmax of one row of logits, summed in f64.
fn probabilities(logits: &Tensor) -> Result<Vec<f32>> {
    with_f32(&logits.to_device(&candle_core::Device::Cpu)?.flatten_all()?, |logits| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = logits.iter().map(|v| f64::from(v - most).exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.iter().map(|e| (e / sum) as f32).collect()
    })
}
