//! Which latents fire, as lists on the GPU. Twin: `core::train::choose`.

use candle_core::Tensor;

use super::{super::encode::products, Backend, Buffer, Shape, Task, address_of, launch};
use crate::{error::Result, select::Choice};

/// Latents of each token, ascending, from its start to its end; values without the lengths of the decoder's rows.
pub struct Lists {
    pub starts: Buffer<u64>,
    /// None where a token's list ends where the next one's begins.
    ends: Option<Buffer<u64>>,
    pub indices: Buffer<u32>,
    pub values: Buffer<f32>,
}

impl Lists {
    /// Where the ends lie.
    pub fn ends(&self) -> u64 {
        let next = self.starts.address() + size_of::<u64>() as u64;
        self.ends.as_ref().map_or(next, Buffer::address)
    }
}

/// What was chosen of a batch.
pub struct Chosen {
    pub main: Lists,
    /// Of the dead latents the largest, below zero or not.
    pub dead: Option<Lists>,
    least: Option<Least>,
}

/// The least of those chosen among a batch, on the GPU.
struct Least(Buffer<u32>);

impl Chosen {
    /// Read back: waits for the choice.
    pub fn least(&self, backend: &dyn Backend) -> Result<Option<f32>> {
        let Some(Least(bits)) = &self.least else { return Ok(None) };
        // The kernel keeps the largest complement.
        let found = bits.to_vec(backend)?.first().copied().filter(|bits| *bits > 0);
        Ok(found.map(|bits| f32::from_bits(!bits)))
    }
}

/// Bytes of a float, which a search finds one after the other.
const BYTES: [u64; 4] = [24, 16, 8, 0];
const THREADS: u32 = 256;

/// Choose of each token's pre-activations, times the lengths of the decoder's rows; and `dead_k` of the dead latents.
pub fn choose(backend: &dyn Backend, task: &Task, centred: &Tensor, choice: Choice, dead_k: usize) -> Result<Chosen> {
    let (tokens, d_sae) = (task.tokens()?, task.weights.d_sae());
    let pre = Buffer::<f32>::of(backend, &products(backend, centred, &task.weights.w_enc)?)?;
    let len = pre.len() as u64;
    let arguments =
        [pre.address(), address_of(backend, &task.weights.b_enc)?, task.lengths.address(), len, d_sae as u64];
    launch(backend, "train", "pre_activations", Shape::over(len)?, &arguments)?;
    let mut least = None;
    let main = match choice {
        Choice::Token(k) => largest(backend, &pre, d_sae, k.min(d_sae), None, task.lengths)?,
        Choice::Batch(count) => {
            let search = search(backend, &pre, count)?;
            let (lists, found) = chosen(backend, task, &pre, &search, Some(count.min(tokens * d_sae)))?;
            least = Some(Least(found));
            lists
        }
        Choice::Positive => chosen(backend, task, &pre, &Buffer::zeros(backend, 2)?, None)?.0,
    };
    let dead = match dead_k {
        0 => None,
        k => {
            let names = Buffer::from_slice(backend, task.dead)?;
            let out = Buffer::<f32>::new(backend, tokens * task.dead.len())?;
            let (count, len) = (task.dead.len() as u64, out.len() as u64);
            let arguments = [pre.address(), d_sae as u64, names.address(), count, len, out.address()];
            launch(backend, "train", "gather_columns", Shape::over(len)?, &arguments)?;
            Some(largest(backend, &out, task.dead.len(), k, Some(&names), task.lengths)?)
        }
    };
    Ok(Chosen { main, dead, least })
}

/// The bits of the `count`-th largest of a batch, and how many equal to it are wanted.
fn search(backend: &dyn Backend, values: &Buffer<f32>, count: usize) -> Result<Buffer<u64>> {
    let search = Buffer::from_slice(backend, &[0, count as u64])?;
    let tallies = Buffer::<u64>::zeros(backend, THREADS as usize)?;
    let len = values.len() as u64;
    for shift in BYTES {
        let arguments = [values.address(), len, search.address(), shift, tallies.address()];
        let blocks = len.div_ceil(u64::from(THREADS)).clamp(1, 2048);
        launch(backend, "train", "tally", Shape::grid(blocks, 1, THREADS)?, &arguments)?;
        let arguments = [tallies.address(), shift, search.address()];
        launch(backend, "train", "narrow", Shape::rows(1, THREADS)?, &arguments)?;
    }
    Ok(search)
}

/// All that a search is to take: at most `room` if that is known, else as many as are counted. And the least of them.
fn chosen(
    backend: &dyn Backend,
    task: &Task,
    values: &Buffer<f32>,
    search: &Buffer<u64>,
    room: Option<usize>,
) -> Result<(Lists, Buffer<u32>)> {
    let (tokens, d_sae) = (task.tokens()?, task.weights.d_sae());
    let new = |len| Buffer::<u64>::new(backend, len);
    let (above, equal, taken, starts) = (new(tokens)?, new(tokens)?, new(tokens)?, new(tokens + 1)?);
    let rows = Shape::long_rows(tokens, d_sae)?;
    let arguments = [values.address(), d_sae as u64, search.address(), above.address(), equal.address()];
    launch(backend, "train", "count_chosen", rows, &arguments)?;
    let arguments =
        [above.address(), equal.address(), search.address(), tokens as u64, starts.address(), taken.address()];
    launch(backend, "train", "row_starts", Shape::long_rows(1, tokens)?, &arguments)?;
    let room = match room {
        Some(room) => room,
        None => starts.part(backend, tokens..tokens + 1)?[0] as usize,
    };
    let (indices, out) = (Buffer::new(backend, room)?, Buffer::new(backend, room)?);
    let least = Buffer::<u32>::zeros(backend, 1)?;
    let arguments = [
        values.address(),
        d_sae as u64,
        search.address(),
        starts.address(),
        taken.address(),
        task.lengths.address(),
        indices.address(),
        out.address(),
        least.address(),
    ];
    launch(backend, "train", "gather_chosen", rows, &arguments)?;
    Ok((Lists { starts, ends: None, indices, values: out }, least))
}

/// The `k` largest of each row of `values [.., width]`: of those above zero, or of all if columns have `names`.
fn largest(
    backend: &dyn Backend,
    values: &Buffer<f32>,
    width: usize,
    k: usize,
    names: Option<&Buffer<u32>>,
    lengths: &Buffer<f32>,
) -> Result<Lists> {
    let rows = values.len() / width.max(1);
    let (indices, out) = (Buffer::<u32>::new(backend, rows * k)?, Buffer::<f32>::new(backend, rows * k)?);
    let counts = Buffer::<u64>::new(backend, rows)?;
    let arguments = [values.address(), width as u64, k as u64, indices.address(), out.address(), counts.address()];
    let kernel = if names.is_some() { "largest_of_all" } else { "largest_positive" };
    launch(backend, "select", kernel, Shape::long_rows(rows, width)?, &arguments)?;
    let (starts, ends) = (Buffer::<u64>::new(backend, rows)?, Buffer::<u64>::new(backend, rows)?);
    let arguments = [
        counts.address(),
        k as u64,
        names.map_or(0, Buffer::address),
        lengths.address(),
        indices.address(),
        out.address(),
        starts.address(),
        ends.address(),
    ];
    launch(backend, "train", "to_lists", Shape::long_rows(rows, k)?, &arguments)?;
    Ok(Lists { starts, ends: Some(ends), indices, values: out })
}
