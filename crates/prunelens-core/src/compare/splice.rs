//! Cross-entropy and KL divergence with a reconstruction put at the hook.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_kernels::{
    device::{self, Backend},
    losses::{kl_divergence, log_sum_exp},
    with_f32,
};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    model::{Captured, Model, Tick, tokens_at_once},
};

/// Losses at every position, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLosses {
    /// Of the next token; NaN where there is none.
    pub ce: Vec<f32>,
    /// Of the clean distribution against this one.
    pub kl: Vec<f32>,
}

/// Logits in memory at a time, in values: bounds the chunk whatever the vocabulary. A card wants more at once.
const CHUNK_VALUES: usize = 1 << 22;
const CARD_CHUNK_VALUES: usize = 1 << 25;

/// Clean logits are kept up to this many values; longer prompts compute them again when they are needed.
const KEPT_VALUES: usize = 1 << 25;

/// One model's clean pass over a prompt, kept so that each spliced pass costs its own logits only.
pub struct CleanPass {
    /// Residual stream after the last block, `[n, d_model]`.
    last: Tensor,
    logits: Option<Logits>,
    targets: Vec<Option<u32>>,
    ce: Vec<f32>,
}

impl CleanPass {
    pub fn new(model: &Model, captured: &Captured, targets: Vec<Option<u32>>, tick: Tick) -> Result<Self> {
        let last = model.finish(captured, tick)?.flatten_to(1)?;
        let n = last.dim(0)?;
        if n * model.config.d_vocab > KEPT_VALUES {
            let (ce, _) = losses(model, &last, &[], &targets, tick)?;
            return Ok(Self { last, logits: None, targets, ce });
        }
        tick()?;
        let logits = Logits::of(model, &last, 0, n)?;
        let ce = logits.cross_entropies(&targets)?;
        Ok(Self { last, logits: Some(logits), targets, ce })
    }

    /// Cross-entropies of the clean pass.
    pub fn ce(&self) -> &[f32] {
        &self.ce
    }

    /// Losses of another pass over the same prompt.
    pub fn against(&self, model: &Model, last: &Tensor, tick: Tick) -> Result<TokenLosses> {
        let Some(clean) = &self.logits else {
            let (_, mut found) = losses(model, &self.last, &[last], &self.targets, tick)?;
            return found.pop().ok_or_else(|| Error::invalid("no losses for a spliced pass"));
        };
        tick()?;
        clean.compare(&Logits::of(model, last, 0, last.dim(0)?)?, &self.targets)
    }
}

/// Losses of several passes through one model against its clean pass: residual streams after the last block, `[n, d_model]`
/// each; one of `[1, d_model]` is the same at every position. `targets` are the next tokens. Returns the clean
/// cross-entropies, and the losses of each of `others`. Logits exist for a few positions at a time only; `tick` is called
/// between them.
pub fn losses(
    model: &Model,
    clean: &Tensor,
    others: &[&Tensor],
    targets: &[Option<u32>],
    tick: Tick,
) -> Result<(Vec<f32>, Vec<TokenLosses>)> {
    let n = clean.dim(0)?;
    let flops = (2 * model.config.d_model * model.config.d_vocab) as f64;
    let values = if model.device.is_cpu() { CHUNK_VALUES } else { CARD_CHUNK_VALUES };
    let rows = (values / model.config.d_vocab).min(tokens_at_once(flops, &model.device)).clamp(16, 512);
    let constant =
        |other: &&Tensor| if other.dim(0)? == 1 { Logits::of(model, other, 0, 1).map(Some) } else { Ok(None) };
    let constant: Vec<Option<Logits>> = others.iter().map(constant).collect::<Result<_>>()?;
    let mut clean_ce = Vec::with_capacity(n);
    let mut all = vec![TokenLosses::default(); others.len()];
    for start in (0..n).step_by(rows) {
        tick()?;
        let len = rows.min(n - start);
        let targets = &targets[start..start + len];
        let clean = Logits::of(model, clean, start, len)?;
        tick()?;
        clean_ce.extend(clean.cross_entropies(targets)?);
        for ((other, constant), losses) in others.iter().zip(&constant).zip(&mut all) {
            tick()?;
            let found = match constant {
                Some(constant) => clean.compare(constant, targets)?,
                None => {
                    let other = Logits::of(model, other, start, len)?;
                    tick()?;
                    clean.compare(&other, targets)?
                }
            };
            losses.ce.extend(found.ce);
            losses.kl.extend(found.kl);
        }
    }
    Ok((clean_ce, all))
}

/// Logits of some positions, where the model is; a single row stands for every position.
struct Logits {
    /// `[rows, vocab]`.
    values: Tensor,
    vocab: usize,
    /// [`log_sum_exp`] of each row, where the processor compares them.
    lse: Vec<f32>,
    backend: Option<Arc<dyn Backend>>,
}

impl Logits {
    fn of(model: &Model, last: &Tensor, start: usize, len: usize) -> Result<Self> {
        let values = model.logits(&last.narrow(0, start, len)?.contiguous()?)?.contiguous()?;
        let vocab = model.config.d_vocab;
        let lse = match &model.backend {
            Some(_) => Vec::new(),
            None => with_f32(&values, |v| v.par_chunks(vocab).map(log_sum_exp).collect())?,
        };
        Ok(Self { values, vocab, lse, backend: model.backend.clone() })
    }

    fn row<'a>(&self, values: &'a [f32], at: usize) -> (&'a [f32], f32) {
        let at = if self.lse.len() == 1 { 0 } else { at };
        (&values[at * self.vocab..(at + 1) * self.vocab], self.lse[at])
    }

    fn cross_entropies(&self, targets: &[Option<u32>]) -> Result<Vec<f32>> {
        if let Some(backend) = &self.backend {
            return Ok(self.compare_on(&**backend, self, targets)?.ce);
        }
        with_f32(&self.values, |values| {
            let ce = |(at, target): (usize, &Option<u32>)| {
                let (row, lse) = self.row(values, at);
                target.and_then(|t| row.get(t as usize)).map_or(f32::NAN, |logit| lse - logit)
            };
            targets.iter().enumerate().map(ce).collect()
        })
    }

    /// Losses of other logits against these.
    fn compare(&self, other: &Self, targets: &[Option<u32>]) -> Result<TokenLosses> {
        if let Some(backend) = &self.backend {
            return self.compare_on(&**backend, other, targets);
        }
        let kl = with_f32(&self.values, |clean| {
            with_f32(&other.values, |values| {
                let kl = |at| {
                    let ((p, p_lse), (q, q_lse)) = (self.row(clean, at), other.row(values, at));
                    kl_divergence(p, p_lse, q, q_lse)
                };
                (0..targets.len()).into_par_iter().map(kl).collect()
            })
        })??;
        Ok(TokenLosses { ce: other.cross_entropies(targets)?, kl })
    }

    fn compare_on(&self, backend: &dyn Backend, other: &Self, targets: &[Option<u32>]) -> Result<TokenLosses> {
        let in_vocabulary = |target: &Option<u32>| target.filter(|t| (*t as usize) < self.vocab);
        let wanted: Vec<u32> = targets.iter().map(|t| in_vocabulary(t).unwrap_or(u32::MAX)).collect();
        let found = device::losses(backend, &self.values, &other.values, &wanted)?;
        let ce =
            |(found, target): (&device::Losses, &Option<u32>)| in_vocabulary(target).map_or(f32::NAN, |_| found.ce_q);
        Ok(TokenLosses {
            ce: found.iter().zip(targets).map(ce).collect(),
            kl: found.iter().map(|found| found.kl_div).collect(),
        })
    }
}

/// The token that follows each position of rows of equal length; none at a row's end.
pub fn next_tokens(rows: &[Vec<u32>]) -> Vec<Option<u32>> {
    rows.iter().flat_map(|row| row.iter().skip(1).copied().map(Some).chain([None])).collect()
}

/// Mean over the values that exist.
pub fn mean(values: &[f32]) -> f64 {
    let (sum, n) = values.iter().filter(|v| !v.is_nan()).fold((0.0, 0), |(s, n), v| (s + f64::from(*v), n + 1));
    if n == 0 { f64::NAN } else { sum / f64::from(n) }
}
