//! The kernels for a GPU: what each is launched with, and what the GPU's memory holds.
//!
//! Nothing here needs CUDA. A [`Backend`] is whatever has memory and runs the kernels of `src/cuda`: a GPU with the
//! `cuda` feature, or in tests the same kernels compiled for the processor. Each function has a twin on the CPU, named in its
//! documentation, whose results it gives.

pub mod attention;
mod bits;
#[cfg(feature = "cuda")]
pub mod cuda;
mod decode;
mod encode;
pub mod layers;
mod lists;
mod losses;
mod mask;
mod memory;
mod nearest;
mod paths;
mod prune;
pub mod ragged;
mod spread;
mod staging;
mod texts;
pub mod train;

use std::{fmt, sync::Arc};

use candle_core::{DType, Device, Tensor};

pub use bits::{keep_bits, same_bits};
pub use decode::{decode, decode_vjp, token_errors};
pub use encode::{Encoder, Route, encode, magnitudes, normalize, squash};
pub use lists::{Lists, active, keep_top_k, kth, largest_place, top_k};
pub use losses::{DeviceLosses, compare};
pub use mask::{mask, row_norms};
pub use memory::{Buffer, DeviceRanks, Element, Float, Mask, Matrix, Memory, Values};
pub use nearest::{Largest, raise_largest};
pub use paths::{Pairs, Steps, last_of_steps, paths, survivors};
pub use prune::{add_column_squares, column_squares, prune, ranks};
pub use spread::spread;
pub use staging::Staging;
pub use texts::{FiringCounts, TextSums, text_means, text_sums};

use crate::error::{Error, Result};

/// A kernel's file in `src/cuda` and its name there. What is compiled several times, for types mostly, is named `name_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Name of the source in `src/cuda`, without its ending.
    pub file: &'static str,
    /// Name of the function in it, without what it is compiled for.
    pub name: &'static str,
    /// What it is compiled for; empty where it is for nothing.
    pub of: [&'static str; 2],
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.of.iter().filter(|of| !of.is_empty()).try_for_each(|of| write!(f, "_{of}"))
    }
}

/// How many blocks, and threads in each.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Along the two axes of the grid.
    pub blocks: [u32; 2],
    /// In each block.
    pub threads: u32,
    /// Bytes of memory that a block's threads share, beside what the kernel itself declares: 99 KiB at the most.
    pub shared: u32,
}

/// Threads of a block where nothing else decides.
const THREADS: u32 = 256;
/// Blocks along the second axis of a grid that every GPU takes.
const MOST_BLOCKS: u64 = 65_535;

impl Shape {
    fn rows(rows: usize, threads: u32) -> Result<Self> {
        Self::grid(rows as u64, 1, threads)
    }

    /// A block for each row: rows are long and few, but no thread of a block is without work.
    fn long_rows(rows: usize, width: usize) -> Result<Self> {
        Self::rows(rows, (width.next_multiple_of(32)).clamp(32, 1024) as u32)
    }

    /// The same where rows are many: several blocks share a processor.
    fn many_rows(rows: usize, width: usize) -> Result<Self> {
        Self::rows(rows, (width.next_multiple_of(32)).clamp(32, THREADS as usize) as u32)
    }

    fn grid(x: u64, y: u64, threads: u32) -> Result<Self> {
        match (i32::try_from(x), y) {
            (Ok(x), 1..=MOST_BLOCKS) if x > 0 => Ok(Self { blocks: [x as u32, y as u32], threads, shared: 0 }),
            _ => Err(Error::invalid(format!("a kernel over {x} x {y} blocks is more than a GPU takes at a time"))),
        }
    }

    /// For loops over all threads of a grid: enough blocks to fill any GPU.
    fn over(len: u64) -> Result<Self> {
        Self::grid(len.div_ceil(u64::from(THREADS)).clamp(1, 1 << 16), 1, THREADS)
    }

    /// A warp for each of `len` things.
    fn warps(len: u64, y: u64) -> Result<Self> {
        Self::grid(len.div_ceil(u64::from(THREADS / 32)).max(1), y, THREADS)
    }
}

/// Something that runs the kernels. Launches are done in order; reading memory back waits for them.
pub trait Backend: Send + Sync {
    /// Where its tensors lie.
    fn device(&self) -> &Device;

    /// Memory with anything in it.
    fn allocate(&self, bytes: usize) -> Result<Memory>;
    /// From a byte on.
    fn write(&self, to: &mut Memory, start: usize, from: &[u8]) -> Result<()>;
    /// Memory of the processor to write from many times.
    fn staging(&self, bytes: usize) -> Result<Staging> {
        Ok(Staging::plain(bytes))
    }
    /// From a byte on.
    fn read(&self, from: &Memory, start: usize, to: &mut [u8]) -> Result<()>;
    /// Fill with zeros.
    fn clear(&self, memory: &mut Memory) -> Result<()>;

    /// What a contiguous tensor of this GPU's device occupies; it lives as long as the memory does.
    fn memory_of(&self, tensor: &Tensor) -> Result<Memory>;
    /// Memory that was allocated here, as a tensor of as many numbers.
    fn tensor(&self, memory: Memory, dtype: DType, shape: &[usize]) -> Result<Tensor>;

    /// `x [n, k]` times the transpose of `weight [m, k]`, both in bfloat16, with sums in f32: `[n, m]` in f32, which candle's
    /// product of the same would round.
    fn products(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        Ok(x.to_dtype(DType::F32)?.matmul(&weight.to_dtype(DType::F32)?.t()?)?)
    }

    /// Each argument is a pointer or an unsigned integer.
    ///
    /// # Safety
    /// The arguments must be those that the kernel declares, and the memory they point to as long as it expects.
    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()>;

    /// Load what will be launched, which takes long where the driver has to compile it: while something else is read.
    fn warm(&self) -> Result<()> {
        Ok(())
    }

    /// Wait until what was launched before the last call of this is done. Called between parts of long work it leaves the GPU
    /// one part to be busy with, and no more than that for others to wait for.
    fn await_previous(&self) -> Result<()>;

    /// Milliseconds that the GPU takes for what is launched.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64>;
}

/// For the launchers of this module, each of which has the arguments of the kernel that it names, of the lengths that it says.
fn launch(
    backend: &dyn Backend,
    file: &'static str,
    name: &'static str,
    shape: Shape,
    arguments: &[u64],
) -> Result<()> {
    launch_of(backend, Kernel { file, name, of: ["", ""] }, shape, arguments)
}

/// The same of a kernel for several types.
fn launch_of(backend: &dyn Backend, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
    // SAFETY: as above.
    unsafe { backend.launch(kernel, shape, arguments) }
}

/// A number as an argument.
fn bits(number: f32) -> u64 {
    u64::from(number.to_bits())
}

impl fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a GPU at {:?}", self.device().location())
    }
}

/// The GPU that a device is; none for the CPU.
pub fn of(device: &Device) -> Result<Option<Arc<dyn Backend>>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(Some(cuda::Cuda::of(device)?));
    }
    let _ = device;
    Ok(None)
}
