//! The loss of next tokens, and its gradient back to a hook.

use candle_core::Tensor;
use prunelens_kernels::{losses::log_sum_exp, with_f32};

use super::Trace;
use crate::{
    error::{Error, Result},
    model::Tick,
};

/// Logits in memory at a time, in values: bounds the part whatever the vocabulary.
const PART_VALUES: usize = 1 << 22;

impl Trace<'_> {
    /// Sum of the cross-entropies of `targets`, one a token (`None` where nothing is predicted), and its gradient by the
    /// activation at the hook, `[tokens, d_in]`. Logits exist for a few tokens at a time.
    pub fn loss_vjp(self, targets: &[Option<u32>], tick: Tick) -> Result<(f64, Tensor)> {
        let (n, width) = self.last.dims2()?;
        if targets.len() != n {
            return Err(Error::invalid(format!("{} targets for {n} tokens", targets.len())));
        }
        let model = self.model;
        let wanted: Vec<(u32, u32)> =
            targets.iter().zip(0..).filter_map(|(target, at)| Some((at, (*target)?))).collect();
        let (mut loss, mut by_last) = (0.0, vec![0.0; n * width]);
        for part in wanted.chunks((PART_VALUES / model.config.d_vocab.max(1)).clamp(16, 512)) {
            tick()?;
            let (at, targets): (Vec<u32>, Vec<u32>) = part.iter().copied().unzip();
            let x = self.last.index_select(&Tensor::new(at.as_slice(), self.last.device())?, 0)?;
            let logits = model.logits(&x)?;
            let (mean, by_logits) = cross_entropy(&logits, &targets)?;
            let n = part.len() as f64;
            loss += mean * n;
            tick()?;
            let by_x = model.logits_vjp(&x, &logits, &(by_logits * n)?)?;
            with_f32(&by_x, |rows| {
                for (at, row) in at.iter().zip(rows.chunks(width)) {
                    let start = *at as usize * width;
                    by_last[start..start + width].copy_from_slice(row);
                }
            })?;
        }
        let by_last = Tensor::from_vec(by_last, (n, width), self.last.device())?;
        Ok((loss, self.back(by_last, tick)?))
    }
}

/// Mean cross-entropy of rows of logits, and its gradient by them.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<(f64, Tensor)> {
    let (n, vocab) = logits.dims2()?;
    if n != targets.len() || targets.iter().any(|t| *t as usize >= vocab) {
        return Err(Error::invalid(format!("{} targets for {n} rows of {vocab} logits", targets.len())));
    }
    let mut g = with_f32(&logits.contiguous()?, <[f32]>::to_vec)?;
    let mut loss = 0.0;
    for (row, target) in g.chunks_mut(vocab).zip(targets) {
        let (total, target) = (log_sum_exp(row), *target as usize);
        loss += f64::from(total) - f64::from(row[target]);
        row.iter_mut().for_each(|v| *v = (*v - total).exp() / n as f32);
        row[target] -= 1.0 / n as f32;
    }
    Ok((loss / n as f64, Tensor::from_vec(g, (n, vocab), logits.device())?))
}
