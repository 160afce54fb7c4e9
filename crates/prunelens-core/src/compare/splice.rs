//! Cross-entropy and KL divergence with a reconstruction put at the hook.

use candle_core::Tensor;
pub use prunelens_kernels::losses::TokenLosses;
use prunelens_kernels::{losses::Compared, ops::Logits};

use crate::{
    error::{Error, Result},
    model::{Captured, Model, tokens_at_once},
    progress::Tick,
};

/// A pass's logits in memory at a time: bounds the chunk whatever the vocabulary. A GPU wants more at once: 512 positions of a
/// vocabulary of 256,000 in 16 bits.
const CHUNK_VALUES: usize = 1 << 22;
const DEVICE_CHUNK_BYTES: usize = 1 << 28;

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
    /// The rest of the model's own pass, from the hook to the logits.
    pub fn new(model: &Model, captured: &Captured, targets: Vec<Option<u32>>, tick: Tick) -> Result<Self> {
        let last = model.finish(captured, tick)?.flatten_to(1)?;
        let n = last.dim(0)?;
        if n * model.config.d_vocab > KEPT_VALUES {
            let (ce, _) = losses(model, &last, &[], &targets, tick)?;
            return Ok(Self { last, logits: None, targets, ce });
        }
        tick()?;
        let logits = logits(model, &last, 0, n)?;
        let Compared { ce, .. } = model.ops.compare(&logits, &[], &targets)?()?;
        Ok(Self { last, logits: Some(logits), targets, ce })
    }

    /// Residual stream after the last block, `[n, d_model]`.
    pub fn last(&self) -> &Tensor {
        &self.last
    }

    /// Divergence of another model's clean pass over the same prompt from this one, at every position.
    pub fn divergence(&self, (model, other_model): (&Model, &Model), other: &Self, tick: Tick) -> Result<Vec<f32>> {
        let mut kl = Vec::with_capacity(self.targets.len());
        let rows = positions_at_once(model);
        for start in (0..self.targets.len()).step_by(rows) {
            tick()?;
            let len = rows.min(self.targets.len() - start);
            let own = logits(model, &self.last, start, len)?;
            let theirs = logits(other_model, &other.last, start, len)?;
            let compared = model.ops.compare(&own, &[&theirs], &self.targets[start..start + len])?()?;
            kl.extend(compared.others.into_iter().flat_map(|theirs| theirs.kl));
        }
        Ok(kl)
    }

    /// Cross-entropies of the clean pass.
    pub fn ce(&self) -> &[f32] {
        &self.ce
    }

    /// Losses of another pass over the same prompt.
    pub fn against(&self, model: &Model, last: &Tensor, tick: Tick) -> Result<TokenLosses> {
        let mut found = match &self.logits {
            Some(clean) => {
                tick()?;
                let logits = logits(model, last, 0, last.dim(0)?)?;
                model.ops.compare(clean, &[&logits], &self.targets)?()?.others
            }
            None => losses(model, &self.last, &[last], &self.targets, tick)?.1,
        };
        found.pop().ok_or_else(|| Error::invalid("no losses for a spliced pass"))
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
    let rows = positions_at_once(model);
    let constant = |other: &&Tensor| if other.dim(0)? == 1 { logits(model, other, 0, 1).map(Some) } else { Ok(None) };
    let constant: Vec<Option<Logits>> = others.iter().map(constant).collect::<Result<_>>()?;
    // Asked for at the end, so that a GPU never waits for whoever reads them.
    let mut parts = Vec::new();
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let mut part = |last: &Tensor| {
            tick()?;
            let logits = logits(model, last, start, len)?;
            model.ops.await_previous()?;
            Ok(logits)
        };
        let clean = part(clean)?;
        let own = others.iter().zip(&constant).map(|(other, constant)| match constant {
            Some(constant) => Ok(constant.clone()),
            None => part(other),
        });
        let own = own.collect::<Result<Vec<_>>>()?;
        tick()?;
        parts.push(model.ops.compare(&clean, &own.iter().collect::<Vec<_>>(), &targets[start..start + len])?);
    }
    let mut ce = Vec::with_capacity(n);
    let mut all: Vec<TokenLosses> = others.iter().map(|_| TokenLosses::default()).collect();
    for part in parts {
        let compared = part()?;
        ce.extend(compared.ce);
        for (losses, part) in all.iter_mut().zip(compared.others) {
            losses.ce.extend(part.ce);
            losses.kl.extend(part.kl);
        }
    }
    Ok((ce, all))
}

/// Positions whose logits exist at the same time, of all passes through a model.
pub fn positions_at_once(model: &Model) -> usize {
    let vocab = model.config.d_vocab.max(1);
    let most = if model.device.is_cpu() {
        let flops = (2 * model.config.d_model * vocab) as f64;
        (CHUNK_VALUES / vocab).min(tokens_at_once(flops, &model.device))
    } else {
        DEVICE_CHUNK_BYTES / (model.dtype.size_in_bytes() * vocab)
    };
    most.clamp(16, 512)
}

/// Logits of some positions.
fn logits(model: &Model, last: &Tensor, start: usize, len: usize) -> Result<Logits> {
    let logits = model.uncapped_logits(&last.narrow(0, start, len)?.contiguous()?)?;
    model.ops.logits(logits.contiguous()?, model.config.logit_softcap)
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
