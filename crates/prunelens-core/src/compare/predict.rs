//! What the models say comes next: as they are, with reconstructions spliced in, and with edits in force.

use candle_core::Tensor;
use prunelens_kernels::{select::by_value, with_f32};

use super::{Prompt, Variant};
use crate::{
    edit::Edits,
    error::{Error, Result},
    model::{Model, Tokenizer},
    progress::Tick,
};

/// Whose prediction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The model of this variant, left alone.
    Model(Variant),
    /// The variant's reconstruction in its model.
    Spliced(Variant),
    /// The variant's model with edits in force.
    Edited(Variant),
}

/// A token that may come next.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// The bytes it stands for: escape before showing.
    pub piece: Vec<u8>,
    /// Its probability.
    pub probability: f32,
    /// Its probability by the same model left alone.
    pub alone: f32,
}

/// One speaker at one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Who says it.
    pub of: Speaker,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<Candidate>,
    /// Divergence from the same model left alone, in nats; 0 for that itself.
    pub kl: f32,
    /// Cross-entropy of the token that does come; `None` at the end of the text.
    pub ce: Option<f32>,
}

/// Predictions after one token of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Its position.
    pub token: usize,
    /// Models first, then spliced variants, then edited ones.
    pub list: Vec<Prediction>,
    /// Divergence of the pruned model from the original at every token, in nats; empty where there is one model.
    pub between: Vec<f32>,
}

/// Tokens listed.
const LISTED: usize = 10;

impl Prompt {
    /// What is said after a token, with these edits in force.
    pub fn predict(&mut self, token: usize, edits: &Edits, tokenizer: &Tokenizer, tick: Tick) -> Result<Predictions> {
        if token >= self.len() {
            return Err(Error::invalid(format!("the prompt has no token {token}")));
        }
        while self.splice_next(tick)? {}
        let between = self.between_models(tick)?;
        let mut list = Vec::new();
        let models = [Variant::Original, Variant::Transfer];
        for variant in models.into_iter().filter(|v| *v == Variant::Original || !between.is_empty()) {
            list.extend(self.said(Speaker::Model(variant), None, token, tokenizer)?);
        }
        for variant in Variant::ALL {
            list.extend(self.said(Speaker::Spliced(variant), None, token, tokenizer)?);
        }
        if !edits.list.is_empty() {
            for variant in Variant::ALL {
                let Some(edited) = self.edited(variant, edits, tick)? else { continue };
                let said = (edited.last(), edited.losses.kl[token], edited.losses.ce[token]);
                list.extend(self.said(Speaker::Edited(variant), Some(said), token, tokenizer)?);
            }
        }
        Ok(Predictions { token, list, between })
    }

    fn said(
        &self,
        of: Speaker,
        edited: Option<(&Tensor, f32, f32)>,
        token: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Prediction>> {
        let (Speaker::Model(variant) | Speaker::Spliced(variant) | Speaker::Edited(variant)) = of;
        let Some((reader, _, _, Some(clean))) = self.parts(variant) else { return Ok(None) };
        let (last, kl, ce) = match (of, edited) {
            (Speaker::Model(_), _) => (clean.last(), 0.0, clean.ce()[token]),
            (_, Some(edited)) => edited,
            _ => match self.spliced(variant) {
                Some((last, losses)) => (last, losses.kl[token], losses.ce[token]),
                None => return Ok(None),
            },
        };
        let top = candidates(&reader.model, [clean.last(), last], token, LISTED, tokenizer)?;
        Ok(Some(Prediction { of, top, kl, ce: (!ce.is_nan()).then_some(ce) }))
    }
}

/// The `n` likeliest tokens after a position, the likeliest first: of a model's residual streams after the last block, left
/// alone and as it is.
pub(super) fn candidates(
    model: &Model,
    [alone, own]: [&Tensor; 2],
    token: usize,
    n: usize,
    tokenizer: &Tokenizer,
) -> Result<Vec<Candidate>> {
    let at = |last: &Tensor| probabilities(&model.logits(&last.narrow(0, token, 1)?.contiguous()?)?);
    let (own, alone) = (at(own)?, at(alone)?);
    let candidate = |(id, probability): (u32, f32)| Candidate {
        id,
        piece: tokenizer.piece(id),
        probability,
        alone: alone[id as usize],
    };
    Ok(likeliest(&own, n).into_iter().map(candidate).collect())
}

/// The `n` largest, the largest first.
fn likeliest(probabilities: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(probabilities.iter().copied()).collect();
    let n = n.min(all.len());
    if n > 0 {
        all.select_nth_unstable_by(n - 1, by_value);
    }
    all.truncate(n);
    all.sort_by(by_value);
    all
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
