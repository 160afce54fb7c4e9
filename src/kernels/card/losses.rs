//! Rows of logits compared.

use super::{Buffer, Card, Kernel, Shape, Values};
use crate::error::{Error, Result};

/// Threads that take a row: a vocabulary is long.
const THREADS: u32 = 1024;

/// What a row of logits `q` says beside a row `p`, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// Kullback-Leibler divergence of q from p.
    pub kl_div: f32,
    /// Cross-entropy of the target under p and under q; zero where the target is not in the vocabulary.
    pub ce_p: f32,
    pub ce_q: f32,
}

/// Losses of `targets.len()` rows of logits, read as they are stored. Twin: `kernels::losses`.
pub fn losses(card: &dyn Card, p: &Values, q: &Values, targets: &[u32]) -> Result<Vec<Losses>> {
    let rows = targets.len();
    let width = p.len() / rows.max(1);
    if p.len() != rows * width || q.len() != p.len() || p.name() != q.name() {
        return Err(Error::invalid(format!(
            "{rows} rows of logits to compare need the same type and length, found {} {} and {} {}",
            p.len(),
            p.name(),
            q.len(),
            q.name()
        )));
    }
    if p.is_empty() {
        return Ok(Vec::new());
    }
    let targets = Buffer::from_slice(card, targets)?;
    let out = Buffer::<f32>::new(card, 3 * rows)?;
    let arguments = [p.address(), q.address(), targets.address(), width as u64, out.address()];
    let kernel = Kernel { file: "losses", name: format!("losses_{}", p.name()) };
    // SAFETY: the kernel's arguments; three numbers a row.
    unsafe { card.launch(kernel, Shape::rows(rows, THREADS)?, &arguments)? };
    let out = out.to_vec(card)?;
    Ok(out.chunks_exact(3).map(|row| Losses { kl_div: row[0], ce_p: row[1], ce_q: row[2] }).collect())
}
