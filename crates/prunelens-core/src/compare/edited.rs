//! A prompt with edits in force: what the models then predict.

use std::sync::Arc;

use candle_core::Tensor;

use super::{
    Prompt, Variant, apply,
    predict::{Candidate, candidates},
    splice::TokenLosses,
};
use crate::{
    edit::Edits,
    error::{Error, Result},
    model::{Model, Tokenizer},
    progress::Tick,
};

/// One variant's model, read with edits in force.
#[derive(Clone, Debug)]
pub struct Edited {
    /// Cross-entropy of the next token, and divergence of this prediction from the model's own without SAE and edits.
    pub losses: TokenLosses,
    model: Arc<Model>,
    /// Residual streams after the last block, without and with the edits, `[tokens, d_model]`.
    before: Tensor,
    after: Tensor,
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
        let after = reader.model.resume(captured, &edited, tick)?.flatten_to(1)?;
        let losses = clean.against(&reader.model, &after, tick)?;
        Ok(Some(Edited { losses, model: reader.model.clone(), before: clean.last().clone(), after }))
    }
}

impl Edited {
    /// Residual stream after the last block, `[tokens, d_model]`.
    pub(super) fn last(&self) -> &Tensor {
        &self.after
    }

    /// Logits `[tokens, vocabulary]`.
    pub fn logits(&self) -> Result<Tensor> {
        self.model.logits(&self.after)
    }

    /// The `n` likeliest tokens after a position with the edits, the likeliest first.
    pub fn top(&self, position: usize, n: usize, tokenizer: &Tokenizer) -> Result<Vec<Candidate>> {
        candidates(&self.model, [&self.before, &self.after], position, n, tokenizer)
    }
}
