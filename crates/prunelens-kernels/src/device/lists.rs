//! Dense latents to lists of those that fire, and lists for the decoder.

use std::{borrow::Cow, fmt};

use candle_core::Tensor;

use super::{Backend, Buffer, Shape, launch};
use crate::{
    Latents,
    error::{Error, Result},
    select::Candidate,
};

/// Active latents per token; there may be room for more than there are. Of each row a span, where its latents begin and end,
/// then all latents, ascending in each row: one array, so that a single wait reads both.
pub struct Lists {
    numbers: Buffer<u64>,
    rows: usize,
    d_sae: usize,
    /// The spans and first latents, where it had to be known how many there are; else empty, and nothing was read yet.
    begun: Vec<u64>,
}

/// Latents that are read back with the spans: enough for a prompt. Of more, as many are read then as there are.
const WITH_SPANS: usize = 1 << 14;

/// An index below, the bits of its activation above: `Latent` in `common.cuh`.
fn packed(index: u32, value: f32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(index)
}

impl Lists {
    fn new(backend: &dyn Backend, (rows, d_sae): (usize, usize), room: usize) -> Result<Self> {
        Ok(Self { numbers: Buffer::new(backend, 2 * rows + room)?, rows, d_sae, begun: Vec::new() })
    }

    /// Latents on the CPU, uploaded.
    pub fn from_latents(backend: &dyn Backend, latents: &Latents) -> Result<Self> {
        let spans = latents.offsets.windows(2).flat_map(|span| [span[0] as u64, span[1] as u64]);
        let packed = latents.indices.iter().zip(&latents.values).map(|(index, value)| packed(*index, *value));
        let numbers: Vec<u64> = spans.chain(packed).collect();
        let numbers = Buffer::from_slice(backend, &numbers)?;
        Ok(Self { numbers, rows: latents.rows(), d_sae: latents.d_sae, begun: Vec::new() })
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the latents are those of so many.
    pub(super) fn expect(&self, d_sae: usize, what: &str) -> Result<()> {
        match self.d_sae == d_sae {
            true => Ok(()),
            false => Err(Error::invalid(format!("{what} of {d_sae} latents, and lists of {} of them", self.d_sae))),
        }
    }

    /// Where the spans lie.
    pub(super) fn spans(&self) -> u64 {
        self.numbers.address()
    }

    /// Where the latents lie.
    pub(super) fn latents(&self) -> u64 {
        self.numbers.address() + (2 * self.rows * size_of::<u64>()) as u64
    }

    /// The spans and the first latents: waits for all that was launched.
    fn begin(&self, backend: &dyn Backend) -> Result<Vec<u64>> {
        self.numbers.part(backend, 0..self.numbers.len().min(2 * self.rows + WITH_SPANS))
    }

    /// How many latents there are, and room between them, by what was read first.
    fn total(&self, begun: &[u64]) -> usize {
        if self.rows == 0 { 0 } else { begun[2 * self.rows - 1] as usize }
    }

    /// Read back: waits for all that was launched, unless all was read when they were counted.
    pub fn to_latents(&self, backend: &dyn Backend) -> Result<Latents> {
        let mut numbers = match self.begun.is_empty() {
            true => Cow::from(self.begin(backend)?),
            false => Cow::from(&self.begun),
        };
        let all = 2 * self.rows + self.total(&numbers);
        if all > numbers.len() {
            let rest = self.numbers.part(backend, numbers.len()..all)?;
            numbers.to_mut().extend(rest);
        }
        let (spans, packed) = numbers.split_at(2 * self.rows);
        let mut latents = Latents::new(self.d_sae);
        for span in spans.as_chunks::<2>().0 {
            let [begin, end] = span.map(|at| at as usize);
            latents.push_row(packed[begin..end].iter().map(|one| (*one as u32, f32::from_bits((one >> 32) as u32))));
        }
        Ok(latents)
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").field("rows", &self.rows).finish_non_exhaustive()
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

/// All latents above zero of `dense [tokens, d_sae]`. Waits, for how many there are. Twin: `kernels::encode::Encoder::encode`.
pub fn active(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize) -> Result<Lists> {
    let rows = rows(dense, d_sae)?;
    if rows == 0 {
        return Lists::new(backend, (0, d_sae), 0);
    }
    let pieces = d_sae.div_ceil(PIECE);
    let counts = count_active(backend, dense.address(), rows, d_sae, PIECE)?;
    let starts = Buffer::<u64>::new(backend, counts.len())?;
    let gather = |room: usize| -> Result<Lists> {
        let lists = Lists::new(backend, (rows, d_sae), room)?;
        let arguments = [counts.address(), rows as u64, pieces as u64, starts.address(), lists.spans()];
        launch(backend, "select", "begin_lists", Shape::rows(1, 1024)?, &arguments)?;
        let mut arguments = vec![dense.address(), d_sae as u64, pieces as u64, PIECE as u64];
        arguments.extend([starts.address(), room as u64, lists.latents()]);
        launch(backend, "select", "gather_active", Shape::rows(counts.len(), COUNTING)?, &arguments)?;
        Ok(lists)
    };
    // Launched before it is known how many there are: nothing waits in between.
    let room = rows * ROOM.min(d_sae);
    let mut lists = gather(room)?;
    let begun = lists.begin(backend)?;
    let total = lists.total(&begun);
    if total > room {
        lists = gather(total)?;
    }
    // The first latents are the same whatever room there is.
    Ok(Lists { begun, ..lists })
}

/// The `k` largest latents above zero of each token of `dense [tokens, d_sae]`, the lowest index first among equals. Waits for
/// nothing. Twin: `kernels::select::TopK`.
pub fn top_k(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, k: usize) -> Result<Lists> {
    let rows = rows(dense, d_sae)?;
    let k = k.min(d_sae);
    let lists = Lists::new(backend, (rows, d_sae), rows * k)?;
    if rows > 0 {
        let arguments = [dense.address(), d_sae as u64, k as u64, lists.spans(), lists.latents()];
        launch(backend, "select", "top_k", Shape::long_rows(rows, d_sae)?, &arguments)?;
    }
    Ok(lists)
}

/// The same, zero where a latent is not among them.
pub fn keep_top_k(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, k: usize) -> Result<Buffer<f32>> {
    let lists = top_k(backend, dense, d_sae, k)?;
    let out = Buffer::<f32>::zeros(backend, dense.len())?;
    if lists.rows > 0 {
        let arguments = [lists.spans(), lists.latents(), d_sae as u64, out.address()];
        launch(backend, "select", "fill_rows", Shape::many_rows(lists.rows, k)?, &arguments)?;
    }
    Ok(out)
}

/// The place of the largest number of each row of `x [rows, width]`, the first of equals. Twin: `ops::Ops::likeliest` on the CPU.
pub fn largest_place(backend: &dyn Backend, x: &Tensor) -> Result<Vec<u32>> {
    let (n, width) = x.dims2()?;
    let x = Buffer::<f32>::of(backend, x)?;
    rows(&x, width)?;
    let places = Buffer::<u32>::new(backend, n)?;
    if n > 0 {
        let arguments = [x.address(), width as u64, places.address()];
        launch(backend, "select", "largest_place", Shape::long_rows(n, width)?, &arguments)?;
    }
    places.to_vec(backend)
}

/// Of each row of `dense [rows, d_sae]` the `k`-th largest value above zero with its index, the lowest first among equals: what
/// the latest of [`top_k`] is. None where fewer than `k` are above zero.
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
