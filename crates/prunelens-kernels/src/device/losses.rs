//! Rows of logits compared.

use candle_core::Tensor;

use super::{Backend, Buffer, Kernel, Shape, Values, bits, launch_of};
use crate::{
    error::{Error, Result},
    losses::{Compared, TokenLosses},
};

/// Losses of some rows, on the GPU.
pub struct DeviceLosses {
    /// `[1 + 2 * others, rows]`: cross-entropies of p, then those of each other and its divergence.
    numbers: Buffer<f32>,
    rows: usize,
    others: usize,
}

impl DeviceLosses {
    /// Read back: waits for all that was launched.
    pub fn to_compared(&self, backend: &dyn Backend) -> Result<Compared> {
        let numbers = self.numbers.to_vec(backend)?;
        let (ce, others) = numbers.split_at(self.rows);
        let part = |at: usize| others[at * self.rows..(at + 1) * self.rows].to_vec();
        let of_other = |at| TokenLosses { ce: part(2 * at), kl: part(2 * at + 1) };
        Ok(Compared { ce: ce.into(), others: (0..self.others).map(of_other).collect() })
    }
}

/// How many rows the kernel compares with one at a time.
const OTHERS: usize = 4;
const THREADS: usize = 128;
/// Blocks that share any GPU evenly.
const BLOCKS: usize = 2048;
/// Logits of a row that are worth a block of their own.
const PART: usize = 4096;
/// Numbers that a block leaves, as in the kernel.
const LEFT: usize = 2 + 3 * OTHERS;

/// Losses of `targets.len()` rows of logits `p` and of others beside them, all read as they are stored and capped if asked; of
/// each other there are as many rows as of `p`, or one that stands for all. Twin: `kernels::losses`.
pub fn compare(
    backend: &dyn Backend,
    p: &Tensor,
    others: &[&Tensor],
    cap: Option<f64>,
    targets: &[u32],
) -> Result<DeviceLosses> {
    let (rows, width) = p.dims2()?;
    let fits = |q: &&Tensor| {
        q.dims2().is_ok_and(|(n, same)| same == width && [1, rows].contains(&n)) && q.dtype() == p.dtype()
    };
    if let Some(q) = others.iter().find(|q| !fits(q)) {
        return Err(Error::invalid(format!(
            "rows of logits are compared with as many of one type, or with one: found {:?} {:?} and {:?} {:?}",
            p.dims(),
            p.dtype(),
            q.dims(),
            q.dtype()
        )));
    }
    if targets.len() != rows {
        return Err(Error::invalid(format!("{rows} rows of logits need as many targets, found {}", targets.len())));
    }
    if width == 0 {
        return Err(Error::invalid("logits of an empty vocabulary cannot be compared"));
    }
    let numbers = Buffer::<f32>::new(backend, (1 + 2 * others.len()) * rows)?;
    let losses = DeviceLosses { numbers, rows, others: others.len() };
    if rows == 0 {
        return Ok(losses);
    }
    let p = Values::of(backend, p)?;
    let targets = Buffer::from_slice(backend, targets)?;
    let parts = (BLOCKS / rows).clamp(1, width.div_ceil(PART));
    // Loads of several logits do not cross from one part to the next.
    let length = width.div_ceil(parts).next_multiple_of(16 / p.width());
    let parts = width.div_ceil(length);
    let left = Buffer::<f64>::new(backend, rows * parts * LEFT)?;
    let groups = others.chunks(OTHERS).chain(others.is_empty().then_some(&[][..]));
    for (group, others) in groups.enumerate() {
        let values = others.iter().map(|q| Values::of(backend, q)).collect::<Result<Vec<_>>>()?;
        let single: u64 = others.iter().enumerate().map(|(at, q)| u64::from(q.dims()[0] == 1) << at).sum();
        let mut of_rows = vec![p.address()];
        of_rows.extend((0..OTHERS).map(|at| values.get(at).map_or(0, Values::address)));
        of_rows.extend([single, width as u64, bits(cap.unwrap_or(0.0) as f32)]);
        let launch = |name: &'static str, shape, arguments: &[u64]| {
            let kernel = Kernel { file: "losses", name, of: [p.name(), ""] };
            // Lengths were checked, and there is room for what each writes.
            launch_of(backend, kernel, shape, &[&of_rows, arguments].concat())
        };
        let threads = width.next_multiple_of(32).min(THREADS) as u32;
        launch("losses", Shape::grid(rows as u64, parts as u64, threads)?, &[length as u64, left.address()])?;
        let out = losses.numbers.address() + ((1 + 2 * OTHERS * group) * rows * size_of::<f32>()) as u64;
        let arguments = [left.address(), parts as u64, targets.address(), losses.numbers.address(), out];
        launch("sum_losses", Shape::rows(rows, 32)?, &arguments)?;
    }
    Ok(losses)
}
