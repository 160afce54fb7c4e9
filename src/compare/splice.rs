//! Cross-entropy and KL divergence with a reconstruction put at the hook.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    kernels::{
        losses::{kl_divergence, log_sum_exp},
        with_f32,
    },
    model::{Captured, Model, Tick},
};

/// Losses at every position, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLosses {
    /// Of the next token; NaN where there is none.
    pub ce: Vec<f32>,
    /// Of the clean distribution against this one.
    pub kl: Vec<f32>,
}

/// Logits in memory at a time, in values: bounds the chunk whatever the vocabulary.
const CHUNK_VALUES: usize = 1 << 22;

/// Clean logits are kept up to this many values; longer prompts compute them again when they are needed.
const KEPT_VALUES: usize = 1 << 25;

/// One model's clean pass over a prompt, kept so that each spliced pass costs its own logits only.
pub struct CleanPass {
    /// Residual stream after the last block, `[n, d_model]`.
    last: Tensor,
    logits: Option<(Tensor, Vec<f32>)>,
    targets: Vec<Option<u32>>,
    ce: Vec<f32>,
}

impl CleanPass {
    pub fn new(model: &Model, captured: &Captured, targets: Vec<Option<u32>>, tick: Tick) -> Result<Self> {
        let last = model.finish(captured, tick)?.flatten_to(1)?;
        let (n, vocab) = (last.dim(0)?, model.config.d_vocab);
        if n * vocab > KEPT_VALUES {
            let (ce, _) = losses(model, &last, &[], &targets, tick)?;
            return Ok(Self { last, logits: None, targets, ce });
        }
        tick()?;
        let logits = host_logits(model, &last, 0, n)?;
        let lse: Vec<f32> = with_f32(&logits, |l| l.par_chunks(vocab).map(log_sum_exp).collect())?;
        let ce = with_f32(&logits, |l| cross_entropies(l, &lse, &targets).collect())?;
        Ok(Self { last, logits: Some((logits, lse)), targets, ce })
    }

    /// Cross-entropies of the clean pass.
    pub fn ce(&self) -> &[f32] {
        &self.ce
    }

    /// Losses of another pass over the same prompt.
    pub fn against(&self, model: &Model, last: &Tensor, tick: Tick) -> Result<TokenLosses> {
        let Some((logits, lse)) = &self.logits else {
            let (_, mut found) = losses(model, &self.last, &[last], &self.targets, tick)?;
            return found.pop().ok_or_else(|| Error::invalid("no losses for a spliced pass"));
        };
        tick()?;
        let spliced = host_logits(model, last, 0, last.dim(0)?)?;
        with_f32(logits, |clean| with_f32(&spliced, |spliced| compare(clean, lse, spliced, &self.targets)))??
    }
}

/// Losses of rows of logits against clean ones.
fn compare(clean: &[f32], lse: &[f32], spliced: &[f32], targets: &[Option<u32>]) -> Result<TokenLosses> {
    let vocab = clean.len() / lse.len().max(1);
    let theirs: Vec<f32> = spliced.par_chunks(vocab).map(log_sum_exp).collect();
    let kl = (clean.par_chunks(vocab).zip(lse)).zip(spliced.par_chunks(vocab).zip(&theirs));
    let kl = kl.map(|((p, p_lse), (q, q_lse))| kl_divergence(p, *p_lse, q, *q_lse)).collect();
    Ok(TokenLosses { ce: cross_entropies(spliced, &theirs, targets).collect(), kl })
}

/// Losses of several passes through one model against its clean pass: residual streams after the last block, `[n, d_model]`
/// each. `targets` are the next tokens. Returns the clean cross-entropies, and the losses of each of `others`. Logits exist
/// for a few positions at a time only; `tick` is called between them.
pub fn losses(
    model: &Model,
    clean: &Tensor,
    others: &[&Tensor],
    targets: &[Option<u32>],
    tick: Tick,
) -> Result<(Vec<f32>, Vec<TokenLosses>)> {
    let (n, vocab) = (clean.dim(0)?, model.config.d_vocab);
    let rows = (CHUNK_VALUES / vocab).clamp(16, 512);
    let mut clean_ce = Vec::with_capacity(n);
    let mut all = vec![TokenLosses::default(); others.len()];
    for start in (0..n).step_by(rows) {
        tick()?;
        let len = rows.min(n - start);
        let targets = &targets[start..start + len];
        let logits = host_logits(model, clean, start, len)?;
        let lse: Vec<f32> = with_f32(&logits, |l| l.par_chunks(vocab).map(log_sum_exp).collect())?;
        with_f32(&logits, |l| clean_ce.extend(cross_entropies(l, &lse, targets)))?;
        for (other, losses) in others.iter().zip(&mut all) {
            tick()?;
            let spliced = host_logits(model, other, start, len)?;
            let found =
                with_f32(&logits, |clean| with_f32(&spliced, |spliced| compare(clean, &lse, spliced, targets)))???;
            losses.ce.extend(found.ce);
            losses.kl.extend(found.kl);
        }
    }
    Ok((clean_ce, all))
}

fn host_logits(model: &Model, last: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    Ok(model.logits(&last.narrow(0, start, len)?.contiguous()?)?.to_device(&Device::Cpu)?.contiguous()?)
}

fn cross_entropies<'a>(
    logits: &'a [f32],
    lse: &'a [f32],
    targets: &'a [Option<u32>],
) -> impl Iterator<Item = f32> + use<'a> {
    let vocab = logits.len() / lse.len().max(1);
    logits
        .chunks(vocab.max(1))
        .zip(lse)
        .zip(targets)
        .map(|((row, lse), target)| target.and_then(|t| row.get(t as usize)).map_or(f32::NAN, |logit| lse - logit))
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
