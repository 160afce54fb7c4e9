//! Dense latents to lists of those that fire, and lists for the decoder.

use std::fmt;

use super::{Backend, Buffer, Kernel, Shape, launch};
use crate::{
    Latents,
    error::{Error, Result},
    select::Candidate,
};

/// Active latents per token, row-compressed as [`Latents`] are; there may be room for more than there are.
pub struct Lists {
    /// Where each row's latents begin, and the end of the last.
    pub offsets: Buffer<u64>,
    /// Latents of all rows, ascending in each.
    pub indices: Buffer<u32>,
    /// Their activations.
    pub values: Buffer<f32>,
}

impl Lists {
    /// Latents on the CPU, uploaded.
    pub fn from_latents(backend: &dyn Backend, latents: &Latents) -> Result<Self> {
        let offsets: Vec<u64> = latents.offsets.iter().map(|at| *at as u64).collect();
        Ok(Self {
            offsets: Buffer::from_slice(backend, &offsets)?,
            indices: Buffer::from_slice(backend, &latents.indices)?,
            values: Buffer::from_slice(backend, &latents.values)?,
        })
    }

    /// Of rows that have `width` latents each.
    fn full(
        backend: &dyn Backend,
        rows: usize,
        indices: Buffer<u32>,
        values: Buffer<f32>,
        width: usize,
    ) -> Result<Self> {
        let offsets: Vec<u64> = (0..=rows).map(|row| (row * width) as u64).collect();
        Ok(Self { offsets: Buffer::from_slice(backend, &offsets)?, indices, values })
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").field("rows", &self.offsets.len().saturating_sub(1)).finish_non_exhaustive()
    }
}

/// Values of a row that a block takes: of the widest rows enough blocks to fill a GPU for a single one.
const PIECE: usize = 2048;
/// Threads that go through a piece.
const COUNTING: u32 = 256;
/// Latents of a row that there is room for before they are counted; where more fire, they are gathered once more.
const ROOM: usize = 256;

fn rows(dense: &Buffer<f32>, d_sae: usize) -> Result<usize> {
    if u32::try_from(d_sae).is_err() {
        return Err(Error::invalid(format!("{d_sae} latents are more than an index can name")));
    }
    let rows = dense.len() / d_sae.max(1);
    dense.expect(rows * d_sae, "latents")?;
    Ok(rows)
}

/// How many latents of each piece of each row are above zero, of the `[rows, d_sae]` numbers at an address; `length` is that of a
/// piece.
pub(super) fn count_active(
    backend: &dyn Backend,
    dense: u64,
    rows: usize,
    d_sae: usize,
    length: usize,
) -> Result<Buffer<u64>> {
    let pieces = d_sae.div_ceil(length.max(1));
    let counts = Buffer::new(backend, rows * pieces)?;
    let arguments = [dense, d_sae as u64, pieces as u64, length as u64, counts.address()];
    launch(backend, "select", "count_active", Shape::rows(counts.len(), COUNTING)?, &arguments)?;
    Ok(counts)
}

/// All latents above zero of `dense [tokens, d_sae]`, here and there. Twin: `kernels::encode::Encoder::encode`.
pub fn active(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize) -> Result<(Latents, Lists)> {
    let rows = rows(dense, d_sae)?;
    let mut latents = Latents::new(d_sae);
    if rows == 0 {
        let lists = Lists::from_latents(backend, &latents)?;
        return Ok((latents, lists));
    }
    let pieces = d_sae.div_ceil(PIECE);
    let counts = count_active(backend, dense.address(), rows, d_sae, PIECE)?;
    let (starts, offsets) = (Buffer::<u64>::new(backend, counts.len())?, Buffer::<u64>::new(backend, rows + 1)?);
    let arguments = [counts.address(), rows as u64, pieces as u64, starts.address(), offsets.address()];
    launch(backend, "select", "begin_lists", Shape::rows(1, 1024)?, &arguments)?;
    let gather = |room: usize| -> Result<_> {
        let (indices, values) = (Buffer::<u32>::new(backend, room)?, Buffer::<f32>::new(backend, room)?);
        let mut arguments = vec![dense.address(), d_sae as u64, pieces as u64, PIECE as u64];
        arguments.extend([starts.address(), room as u64, indices.address(), values.address()]);
        launch(backend, "select", "gather_active", Shape::rows(counts.len(), COUNTING)?, &arguments)?;
        Ok((indices, values))
    };
    // Launched before it is known how many there are: nothing waits in between.
    let room = rows * ROOM.min(d_sae);
    let mut lists = gather(room)?;
    latents.offsets = offsets.to_vec(backend)?.into_iter().map(|at| at as usize).collect();
    let total = latents.offsets.last().copied().unwrap_or(0);
    if total > room {
        lists = gather(total)?;
    }
    let (indices, values) = lists;
    (latents.indices, latents.values) = (indices.part(backend, 0..total)?, values.part(backend, 0..total)?);
    Ok((latents, Lists { offsets, indices, values }))
}

/// The k largest of each row.
pub struct Top {
    /// The chosen ones.
    pub latents: Latents,
    /// The same on the GPU, where each row has k.
    pub lists: Option<Lists>,
    /// Per row: the k-th largest, the latest that was chosen; none if fewer than k are above zero.
    pub last: Vec<Option<u32>>,
}

/// The `k` largest latents above zero of each token of `dense [tokens, d_sae]`, the lowest index first among equals.
/// Twin: `kernels::select::TopK`.
pub fn top_k(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, k: usize) -> Result<Top> {
    let rows = rows(dense, d_sae)?;
    let width = k.min(d_sae);
    let mut top = Top { latents: Latents::new(d_sae), lists: None, last: Vec::with_capacity(rows) };
    if rows == 0 {
        return Ok(top);
    }
    let indices = Buffer::<u32>::new(backend, rows * width)?;
    let values = Buffer::<f32>::new(backend, rows * width)?;
    let counts = Buffer::<u64>::new(backend, rows)?;
    let last = Buffer::<u32>::new(backend, rows)?;
    let arguments = [
        dense.address(),
        d_sae as u64,
        width as u64,
        indices.address(),
        values.address(),
        counts.address(),
        last.address(),
    ];
    let kernel = Kernel { file: "select", name: "top_k".into() };
    // SAFETY: the kernel's arguments; there is room for k of each row.
    unsafe { backend.launch(kernel, Shape::long_rows(rows, d_sae)?, &arguments)? };
    let (here, values_here) = (indices.to_vec(backend)?, values.to_vec(backend)?);
    for (row, count) in counts.to_vec(backend)?.into_iter().enumerate() {
        let range = row * width..row * width + count as usize;
        top.latents.push_row(here[range.clone()].iter().copied().zip(values_here[range].iter().copied()));
    }
    if top.latents.indices.len() == rows * width {
        top.lists = Some(Lists::full(backend, rows, indices, values, width)?);
    }
    // Where k is more than there are latents, no row is full.
    let full = |last: u32| (last != u32::MAX && width == k).then_some(last);
    top.last = last.to_vec(backend)?.into_iter().map(full).collect();
    Ok(top)
}

/// Of each row of `dense [rows, d_sae]` the `k`-th largest value above zero with its index, the lowest first among equals: what
/// [`Top::last`] is, without the others. None where fewer than `k` are above zero.
pub fn kth(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, k: usize) -> Result<Vec<Option<Candidate>>> {
    let rows = rows(dense, d_sae)?;
    if rows == 0 || k > d_sae {
        return Ok(vec![None; rows]);
    }
    let (last, values) = (Buffer::<u32>::new(backend, rows)?, Buffer::<f32>::zeros(backend, rows)?);
    let arguments = [dense.address(), d_sae as u64, k as u64, last.address(), values.address()];
    launch(backend, "select", "kth", Shape::long_rows(rows, d_sae)?, &arguments)?;
    let found = last.to_vec(backend)?.into_iter().zip(values.to_vec(backend)?);
    Ok(found.map(|candidate| (candidate.0 != u32::MAX).then_some(candidate)).collect())
}
