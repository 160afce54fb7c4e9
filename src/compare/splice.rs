//! Cross-entropy and KL divergence with a reconstruction put at the hook.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::{
    error::Result,
    kernels::{
        losses::{kl_divergence, log_sum_exp},
        with_f32,
    },
    model::{Model, Tick},
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
            with_f32(&logits, |clean| {
                with_f32(&spliced, |spliced| {
                    let their_lse: Vec<f32> = spliced.par_chunks(vocab).map(log_sum_exp).collect();
                    losses.ce.extend(cross_entropies(spliced, &their_lse, targets));
                    let kl = (clean.par_chunks(vocab).zip(&lse)).zip(spliced.par_chunks(vocab).zip(&their_lse));
                    losses.kl.par_extend(kl.map(|((p, p_lse), (q, q_lse))| kl_divergence(p, *p_lse, q, *q_lse)));
                })
            })??;
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
