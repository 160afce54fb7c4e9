//! What the original model's loss owes to each activation at the hook: one backward pass a row.

use candle_core::{DType, Tensor};
use prunelens_core::{
    error::Result,
    model::{Captured, Model, ragged::Stopped},
    progress::Tick,
};

/// The loss of some rows, and its gradient.
pub struct Gradient {
    /// Sum over the positions that predict a token.
    pub loss: f64,
    /// How many these are.
    pub predicted: usize,
    /// By the activation at the hook, `[tokens, d_in]`; 0 in rows that were not traced.
    pub by_acts: Tensor,
}

impl Gradient {
    /// Of the first `traced` of rows that were read to a hook. A position predicts the next token of its row if its own token counts.
    pub fn of(
        model: &Model,
        captured: &Captured,
        rows: &[Vec<u32>],
        traced: usize,
        counts: &[bool],
        tick: Tick,
    ) -> Result<Self> {
        let (mut loss, mut predicted, mut parts) = (0.0, 0, Vec::with_capacity(rows.len()));
        for (at, (row, counts)) in rows.iter().zip(counts.chunks(captured.time())).take(traced).enumerate() {
            let next = row.iter().skip(1).copied().map(Some).chain([None]);
            let targets: Vec<Option<u32>> = next.zip(counts).map(|(next, counts)| next.filter(|_| *counts)).collect();
            predicted += targets.iter().flatten().count();
            let stopped = Stopped::at(model, &captured.row(at)?)?;
            let (of_row, by_acts) = model.trace(&stopped, &stopped.acts, tick)?.loss_vjp(&targets, tick)?;
            loss += of_row;
            parts.push(by_acts);
        }
        let rest = rows.len() - parts.len();
        if rest > 0 {
            let width = model.d_in(captured.hook.site);
            parts.push(Tensor::zeros((rest * captured.time(), width), DType::F32, &model.device)?);
        }
        Ok(Self { loss, predicted, by_acts: Tensor::cat(&parts, 0)? })
    }
}
