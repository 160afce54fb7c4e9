//! The loss of next tokens, and its gradient back to a hook.

use candle_core::{D, DType, Tensor};
use prunelens_kernels::{losses::log_sum_exp, with_f32};

use super::{Trace, gradient::at_rows};
use crate::{
    error::{Error, Result},
    progress::Tick,
};

/// Logits in memory at a time, in values: bounds the part whatever the vocabulary.
const PART_VALUES: usize = 1 << 22;

impl Trace<'_> {
    /// Sum of the cross-entropies of `targets`, one a token (`None` where nothing is predicted), and its gradient by the
    /// activation at the hook, `[tokens, d_in]`. Logits exist for a few tokens at a time.
    pub fn loss_vjp(self, targets: &[Option<u32>], tick: Tick) -> Result<(f64, Tensor)> {
        let n = self.last.dim(0)?;
        if targets.len() != n {
            return Err(Error::invalid(format!("{} targets for {n} tokens", targets.len())));
        }
        let model = self.model;
        let wanted: Vec<(u32, u32)> =
            targets.iter().zip(0..).filter_map(|(target, at)| Some((at, (*target)?))).collect();
        let (mut loss, mut by_last) = (0.0, None);
        for part in wanted.chunks((PART_VALUES / model.config.d_vocab.max(1)).clamp(16, 512)) {
            tick()?;
            let (at, targets): (Vec<u32>, Vec<u32>) = part.iter().copied().unzip();
            let x = self.last.index_select(&Tensor::new(at.as_slice(), self.last.device())?, 0)?;
            let logits = model.logits(&x)?;
            let (mean, by_logits) = cross_entropy(&logits, &targets)?;
            loss += mean * part.len() as f64;
            tick()?;
            let by_x = model.logits_vjp(&x, &logits, &(by_logits * part.len() as f64)?)?;
            let rows = at_rows(&by_x, at, n)?;
            by_last = Some(match by_last {
                Some(sum) => (sum + rows)?,
                None => rows,
            });
        }
        let by_last = by_last.map_or_else(|| self.last.to_dtype(DType::F32)?.zeros_like(), Ok)?;
        Ok((loss, self.back(by_last, tick)?))
    }
}

/// Mean cross-entropy of rows of logits, and its gradient by them.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<(f64, Tensor)> {
    let (n, vocab) = logits.dims2()?;
    if n != targets.len() || targets.iter().any(|t| *t as usize >= vocab) {
        return Err(Error::invalid(format!("{} targets for {n} rows of {vocab} logits", targets.len())));
    }
    if !logits.device().is_cpu() {
        return by_tensors(logits, targets);
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

/// The same where the logits are.
fn by_tensors(logits: &Tensor, targets: &[u32]) -> Result<(f64, Tensor)> {
    let n = targets.len();
    let totals = logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
    let at = Tensor::from_slice(targets, (n, 1), logits.device())?;
    let losses = (&totals - logits.gather(&at, 1)?)?.flatten_all()?.to_vec1::<f32>()?;
    let share = 1.0 / n as f64;
    let g = (logits.broadcast_sub(&totals)?.exp()? * share)?;
    let own = Tensor::full(-share as f32, (n, 1), logits.device())?;
    let loss = losses.into_iter().map(f64::from).sum::<f64>() * share;
    Ok((loss, g.scatter_add(&at, &own, 1)?))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn both_ways_to_a_loss_agree() {
        let numbers: Vec<f32> = (0..3 * 11).map(|i| ((i * 31) % 17) as f32 / 4.0 - 2.0).collect();
        let logits = Tensor::from_vec(numbers, (3, 11), &Device::Cpu).unwrap();
        let (here, there) = (cross_entropy(&logits, &[3, 0, 10]).unwrap(), by_tensors(&logits, &[3, 0, 10]).unwrap());
        assert!((here.0 - there.0).abs() < 1e-6, "{} {}", here.0, there.0);
        let apart = (here.1 - there.1).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 1e-7, "{apart}");
    }
}
