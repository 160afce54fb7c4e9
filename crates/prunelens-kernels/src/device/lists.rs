//! Dense latents to lists of those that fire, and lists for the decoder.

use super::{Backend, Buffer, Kernel, Shape, launch};
use crate::{
    Latents,
    error::{Error, Result},
    select::Candidate,
};

/// Active latents per token, row-compressed as [`Latents`] are.
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
}

fn rows(dense: &Buffer<f32>, d_sae: usize) -> Result<usize> {
    if u32::try_from(d_sae).is_err() {
        return Err(Error::invalid(format!("{d_sae} latents are more than an index can name")));
    }
    let rows = dense.len() / d_sae.max(1);
    dense.expect(rows * d_sae, "latents")?;
    Ok(rows)
}

/// All latents above zero of `dense [tokens, d_sae]`. Twin: `kernels::encode::Encoder::encode`.
pub fn active(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize) -> Result<Latents> {
    let rows = rows(dense, d_sae)?;
    let mut latents = Latents::new(d_sae);
    if rows == 0 {
        return Ok(latents);
    }
    let counts = Buffer::<u64>::new(backend, rows)?;
    let kernel = Kernel { file: "select", name: "count_active".into() };
    let arguments = [dense.address(), d_sae as u64, counts.address()];
    // SAFETY: the kernel's arguments; one count a row.
    unsafe { backend.launch(kernel, Shape::long_rows(rows, d_sae)?, &arguments)? };
    let mut total = 0;
    for count in counts.to_vec(backend)? {
        total += count as usize;
        latents.offsets.push(total);
    }
    let offsets: Vec<u64> = latents.offsets.iter().map(|at| *at as u64).collect();
    let (indices, values) = (Buffer::new(backend, total)?, Buffer::new(backend, total)?);
    if total > 0 {
        let offsets = Buffer::from_slice(backend, &offsets)?;
        let kernel = Kernel { file: "select", name: "gather_active".into() };
        let arguments = [dense.address(), d_sae as u64, offsets.address(), indices.address(), values.address()];
        // SAFETY: the kernel's arguments; the lists are as long as the rows were counted.
        unsafe { backend.launch(kernel, Shape::long_rows(rows, d_sae)?, &arguments)? };
        (latents.indices, latents.values) = (indices.to_vec(backend)?, values.to_vec(backend)?);
    }
    Ok(latents)
}

/// The k largest of each row.
pub struct Top {
    /// The chosen ones.
    pub latents: Latents,
    /// Per row: the k-th largest, the latest that was chosen; none if fewer than k are above zero.
    pub last: Vec<Option<u32>>,
}

/// The `k` largest latents above zero of each token of `dense [tokens, d_sae]`, the lowest index first among equals.
/// Twin: `kernels::select::TopK`.
pub fn top_k(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, k: usize) -> Result<Top> {
    let rows = rows(dense, d_sae)?;
    let width = k.min(d_sae);
    let mut top = Top { latents: Latents::new(d_sae), last: Vec::with_capacity(rows) };
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
    let (indices, values) = (indices.to_vec(backend)?, values.to_vec(backend)?);
    for (row, count) in counts.to_vec(backend)?.into_iter().enumerate() {
        let range = row * width..row * width + count as usize;
        top.latents.push_row(indices[range.clone()].iter().copied().zip(values[range].iter().copied()));
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
