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

/// Losses of some rows, on the GPU.
pub struct DeviceLosses(Buffer<f32>);

impl DeviceLosses {
    /// One a row, read back: waits for all that was launched.
    pub fn to_vec(&self, backend: &dyn Backend) -> Result<Vec<Losses>> {
        let numbers = self.0.to_vec(backend)?;
        Ok(numbers.chunks_exact(3).map(|row| Losses { kl_div: row[0], ce_p: row[1], ce_q: row[2] }).collect())
    }
}

/// Losses of `q` beside `p`, neither of them capped, read back.
pub fn losses(backend: &dyn Backend, p: &Tensor, q: &Tensor, targets: &[u32]) -> Result<Vec<Losses>> {
    compare(backend, Some(p), q, None, targets)?.to_vec(backend)
}

/// Threads of a block, few enough for what each holds.
const THREADS: usize = 512;

/// Losses of `targets.len()` rows of logits, read as they are stored and capped if asked; of `q` there are as many rows as of
/// `p`, or one that stands for all. Without `p` there are cross-entropies alone. Twin: `kernels::losses`.
pub fn compare(
    backend: &dyn Backend,
    p: Option<&Tensor>,
    q: &Tensor,
    cap: Option<f64>,
    targets: &[u32],
) -> Result<DeviceLosses> {
    let ((rows, width), (others, same)) = (p.unwrap_or(q).dims2()?, q.dims2()?);
    let of_one_type = p.is_none_or(|p| p.dtype() == q.dtype());
    if targets.len() != rows || width != same || ![1, rows].contains(&others) || !of_one_type {
        return Err(Error::invalid(format!(
            "{} targets need as many rows of logits of one type to compare, found {:?} {:?} and {:?} {:?}",
            targets.len(),
            p.map(Tensor::dims),
            p.map(Tensor::dtype),
            q.dims(),
            q.dtype()
        )));
    }
    if width == 0 {
        return Err(Error::invalid("logits of an empty vocabulary cannot be compared"));
    }
    let out = Buffer::<f32>::new(backend, 3 * rows)?;
    if rows == 0 {
        return Ok(DeviceLosses(out));
    }
    let q = Values::of(backend, q)?;
    let p = p.map(|p| Values::of(backend, p)).transpose()?;
    let targets = Buffer::from_slice(backend, targets)?;
    let arguments = [
        p.as_ref().map_or(0, Values::address),
        q.address(),
        targets.address(),
        width as u64,
        if others == 1 { 0 } else { width as u64 },
        u64::from((cap.unwrap_or(0.0) as f32).to_bits()),
        out.address(),
    ];
    let kernel = Kernel { file: "losses", name: format!("losses_{}", q.name()) };
    let shape = Shape::rows(rows, width.next_multiple_of(32).min(THREADS) as u32)?;
    // SAFETY: the kernel's arguments; three numbers a row.
    unsafe { backend.launch(kernel, shape, &arguments)? };
    Ok(DeviceLosses(out))
}
