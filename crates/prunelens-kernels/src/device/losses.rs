//! Rows of logits compared.

use candle_core::Tensor;

use super::{Backend, Buffer, Kernel, Shape, Values};
use crate::error::{Error, Result};

/// What a row of logits `q` says beside a row `p`, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// Kullback-Leibler divergence of q from p.
    pub kl_div: f32,
    /// Cross-entropy of the target under p and under q; zero where the target is not in the vocabulary.
    pub ce_p: f32,
    /// Cross-entropy of the target under q, zero where the target is not in the vocabulary.
    pub ce_q: f32,
}

/// Losses of `targets.len()` rows of logits `p`, read as they are stored; of `q` there are as many, or one that stands for
/// all. Twin: `kernels::losses`.
pub fn losses(backend: &dyn Backend, p: &Tensor, q: &Tensor, targets: &[u32]) -> Result<Vec<Losses>> {
    let (rows, width) = p.dims2()?;
    let (others, same) = q.dims2()?;
    if targets.len() != rows || width != same || ![1, rows].contains(&others) || p.dtype() != q.dtype() {
        return Err(Error::invalid(format!(
            "{} targets need as many rows of logits of one type to compare, found {:?} {:?} and {:?} {:?}",
            targets.len(),
            p.dims(),
            p.dtype(),
            q.dims(),
            q.dtype()
        )));
    }
    if p.elem_count() == 0 {
        return Ok(Vec::new());
    }
    let (p, q) = (Values::of(backend, p)?, Values::of(backend, q)?);
    let targets = Buffer::from_slice(backend, targets)?;
    let out = Buffer::<f32>::new(backend, 3 * rows)?;
    let step = if others == 1 { 0 } else { width as u64 };
    let arguments = [p.address(), q.address(), targets.address(), width as u64, step, out.address()];
    let kernel = Kernel { file: "losses", name: format!("losses_{}", p.name()) };
    // SAFETY: the kernel's arguments; three numbers a row.
    unsafe { backend.launch(kernel, Shape::long_rows(rows, width)?, &arguments)? };
    let out = out.to_vec(backend)?;
    Ok(out.chunks_exact(3).map(|row| Losses { kl_div: row[0], ce_p: row[1], ce_q: row[2] }).collect())
}
