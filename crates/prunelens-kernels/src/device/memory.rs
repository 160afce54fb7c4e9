//! What lies in a GPU's memory: arrays of numbers, and matrices with the ranks of their weights.

use std::{any::Any, marker::PhantomData, ops::Range};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::{Backend, Staging};
use crate::{
    Ranks,
    error::{Error, Result},
};

/// A piece of a GPU's memory; given back when its owner is dropped.
pub struct Memory {
    /// Where it begins on the GPU.
    pub address: u64,
    /// Its length.
    pub bytes: usize,
    /// What frees it when it is dropped.
    pub owner: Box<dyn Any + Send + Sync>,
}

mod sealed {
    pub trait Sealed {}
}

/// A number that a kernel reads as it is: every pattern of bits is one, and there is no padding.
pub trait Element: Copy + Default + sealed::Sealed {}

/// A number that tensors hold too.
pub trait Float: Element {
    /// candle's name of the type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($element:ty),*) => { $(impl sealed::Sealed for $element {} impl Element for $element {})* };
}
elements!(u8, u16, u32, u64, f32, f64, bf16, f16);

macro_rules! floats {
    ($($float:ty: $dtype:ident),*) => { $(impl Float for $float { const DTYPE: DType = DType::$dtype; })* };
}
floats!(f32: F32, bf16: BF16, f16: F16);

/// Kernels fetch up to this many bytes in one load, of which the address must be a multiple. Of all that is allocated it is.
const ALIGNED: u64 = 16;

/// Numbers of one type on a GPU.
pub struct Buffer<T> {
    memory: Memory,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Room for `len` numbers, whose values mean nothing yet.
    pub fn new(backend: &dyn Backend, len: usize) -> Result<Self> {
        let bytes =
            len.checked_mul(size_of::<T>()).ok_or_else(|| Error::invalid(format!("{len} numbers are too many")))?;
        // An empty array still needs an address.
        Ok(Self { memory: backend.allocate(bytes.max(1))?, len, element: PhantomData })
    }

    /// `len` zeros.
    pub fn zeros(backend: &dyn Backend, len: usize) -> Result<Self> {
        let mut buffer = Self::new(backend, len)?;
        backend.clear(&mut buffer.memory)?;
        Ok(buffer)
    }

    /// Values of the CPU, uploaded.
    pub fn from_slice(backend: &dyn Backend, values: &[T]) -> Result<Self> {
        let mut buffer = Self::new(backend, values.len())?;
        buffer.write(backend, 0, values)?;
        Ok(buffer)
    }

    /// Values of the CPU in place of those from `at` on.
    pub fn write(&mut self, backend: &dyn Backend, at: usize, values: &[T]) -> Result<()> {
        self.expect_room(at, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: an element is plain bits without padding.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        backend.write(&mut self.memory, at * size_of::<T>(), bytes)
    }

    /// The first `len` numbers of what was filled, in place of those from `at` on.
    pub fn send(&mut self, backend: &dyn Backend, at: usize, from: &mut Staging, len: usize) -> Result<()> {
        self.expect_room(at, len)?;
        from.send(backend, len * size_of::<T>(), &mut self.memory, at * size_of::<T>())
    }

    fn expect_room(&self, at: usize, len: usize) -> Result<()> {
        if at.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        Err(Error::invalid(format!("{len} numbers cannot stand from {at} on among {} on the GPU", self.len)))
    }

    /// The values, read back.
    pub fn to_vec(&self, backend: &dyn Backend) -> Result<Vec<T>> {
        self.part(backend, 0..self.len)
    }

    /// Some of the numbers, read back.
    pub fn part(&self, backend: &dyn Backend, range: Range<usize>) -> Result<Vec<T>> {
        if range.end > self.len {
            return Err(Error::invalid(format!("numbers {range:?} of {} on the GPU were asked for", self.len)));
        }
        let mut values = vec![T::default(); range.len()];
        if !values.is_empty() {
            // SAFETY: an element is plain bits without padding, and any bits are one.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values.as_slice())) };
            backend.read(&self.memory, range.start * size_of::<T>(), bytes)?;
        }
        Ok(values)
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they begin on the GPU.
    pub fn address(&self) -> u64 {
        self.memory.address
    }

    /// An error unless there are `len` numbers.
    pub(super) fn expect(&self, len: usize, what: &str) -> Result<()> {
        if self.len == len {
            return Ok(());
        }
        Err(Error::invalid(format!("{what} on the GPU: expected {len} numbers, found {}", self.len)))
    }
}

impl<T: Float> Buffer<T> {
    /// The numbers of a tensor of this type, where they lie; copied first if they lie elsewhere or in pieces.
    pub fn of(backend: &dyn Backend, tensor: &Tensor) -> Result<Self> {
        if tensor.dtype() != T::DTYPE {
            let (expected, found) = (T::DTYPE, tensor.dtype());
            return Err(Error::invalid(format!("a kernel needs a tensor of {expected:?}, found {found:?}")));
        }
        // From one GPU to another by way of the processor: nothing else makes one wait for what the other does with its memory.
        let tensor = match tensor.device().is_cpu() || tensor.device().same_device(backend.device()) {
            true => tensor.to_device(backend.device())?,
            false => tensor.to_device(&Device::Cpu)?.to_device(backend.device())?,
        };
        let tensor = tensor.contiguous()?;
        let memory = match backend.memory_of(&tensor)? {
            // A part of another tensor may begin anywhere.
            memory if !memory.address.is_multiple_of(ALIGNED) => backend.memory_of(&tensor.force_contiguous()?)?,
            memory => memory,
        };
        Ok(Self { memory, len: tensor.elem_count(), element: PhantomData })
    }

    /// As a tensor of the GPU's device.
    pub fn into_tensor(self, backend: &dyn Backend, shape: &[usize]) -> Result<Tensor> {
        self.expect(shape.iter().product(), "a tensor")?;
        backend.tensor(self.memory, T::DTYPE, shape)
    }
}

/// The address of an array that may be absent.
pub(super) fn address<T: Element>(buffer: Option<&Buffer<T>>) -> u64 {
    buffer.map_or(0, Buffer::address)
}

/// Weights or logits in the type they are stored in.
pub enum Values {
    /// In 32 bits.
    F32(Buffer<f32>),
    /// In bfloat16.
    Bf16(Buffer<bf16>),
    /// In IEEE half precision.
    F16(Buffer<f16>),
}

impl Values {
    /// The numbers of a tensor, where they lie.
    pub fn of(backend: &dyn Backend, tensor: &Tensor) -> Result<Self> {
        match tensor.dtype() {
            DType::F32 => Ok(Self::F32(Buffer::of(backend, tensor)?)),
            DType::BF16 => Ok(Self::Bf16(Buffer::of(backend, tensor)?)),
            DType::F16 => Ok(Self::F16(Buffer::of(backend, tensor)?)),
            other => Err(Error::invalid(format!("kernels read f32, bf16 and f16, found {}", other.as_str()))),
        }
    }

    /// The same memory as a tensor of this shape.
    pub fn into_tensor(self, backend: &dyn Backend, shape: &[usize]) -> Result<Tensor> {
        match self {
            Self::F32(values) => values.into_tensor(backend, shape),
            Self::Bf16(values) => values.into_tensor(backend, shape),
            Self::F16(values) => values.into_tensor(backend, shape),
        }
    }

    /// Bytes of a number.
    pub fn width(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::Bf16(_) | Self::F16(_) => 2,
        }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where they begin on the GPU.
    pub fn address(&self) -> u64 {
        match self {
            Self::F32(values) => values.address(),
            Self::Bf16(values) => values.address(),
            Self::F16(values) => values.address(),
        }
    }

    /// As kernels name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::Bf16(_) => "bf16",
            Self::F16(_) => "f16",
        }
    }

    /// Room for `len` numbers of the same type.
    pub(super) fn like(&self, backend: &dyn Backend, len: usize) -> Result<Self> {
        Ok(match self {
            Self::F32(_) => Self::F32(Buffer::new(backend, len)?),
            Self::Bf16(_) => Self::Bf16(Buffer::new(backend, len)?),
            Self::F16(_) => Self::F16(Buffer::new(backend, len)?),
        })
    }
}

/// [`Ranks`] on a GPU.
pub enum DeviceRanks {
    /// Of groups of up to 65,536 weights.
    U16(Buffer<u16>),
    /// Of larger groups.
    U32(Buffer<u32>),
}

impl DeviceRanks {
    /// Ranks of the CPU, uploaded.
    pub fn new(backend: &dyn Backend, ranks: &Ranks) -> Result<Self> {
        Ok(match ranks {
            Ranks::U16(ranks) => Self::U16(Buffer::from_slice(backend, ranks)?),
            Ranks::U32(ranks) => Self::U32(Buffer::from_slice(backend, ranks)?),
        })
    }

    /// The ranks, read back.
    pub fn to_ranks(&self, backend: &dyn Backend) -> Result<Ranks> {
        Ok(match self {
            Self::U16(ranks) => Ranks::U16(ranks.to_vec(backend)?),
            Self::U32(ranks) => Ranks::U32(ranks.to_vec(backend)?),
        })
    }

    /// Some of the ranks, read back.
    pub fn part(&self, backend: &dyn Backend, range: Range<usize>) -> Result<Vec<u32>> {
        Ok(match self {
            Self::U16(ranks) => ranks.part(backend, range)?.into_iter().map(u32::from).collect(),
            Self::U32(ranks) => ranks.part(backend, range)?,
        })
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        self.width() as u64 * self.len() as u64
    }

    /// Bytes of a rank.
    pub fn width(&self) -> usize {
        match self {
            Self::U16(_) => 2,
            Self::U32(_) => 4,
        }
    }

    /// How many ranks.
    pub fn len(&self) -> usize {
        match self {
            Self::U16(ranks) => ranks.len(),
            Self::U32(ranks) => ranks.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where they begin on the GPU.
    pub fn address(&self) -> u64 {
        match self {
            Self::U16(ranks) => ranks.address(),
            Self::U32(ranks) => ranks.address(),
        }
    }

    /// As kernels name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::U16(_) => "u16",
            Self::U32(_) => "u32",
        }
    }
}

/// Ranks of a matrix's weights and the cut that they must reach to count; at a cut of 0 no ranks are read.
pub type Mask<'a> = Option<(&'a DeviceRanks, u32)>;

/// A matrix `[rows, columns]`.
pub struct Matrix {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Row after row.
    pub values: Values,
}

/// What a kernel is told of a mask.
pub(super) struct Masked {
    /// The types that it must be compiled for.
    pub of: [&'static str; 2],
    pub ranks: u64,
    pub cut: u64,
}

impl Matrix {
    /// Refuses values that do not fill the matrix.
    pub fn new(rows: usize, columns: usize, values: Values) -> Result<Self> {
        let (expected, found) = (rows * columns, values.len());
        if expected != found {
            return Err(Error::invalid(format!(
                "a matrix of {rows} x {columns} needs {expected} weights, found {found}"
            )));
        }
        Ok(Self { rows, columns, values })
    }

    /// A matrix of two dimensions, where it lies.
    pub fn of(backend: &dyn Backend, tensor: &Tensor) -> Result<Self> {
        let (rows, columns) = tensor.dims2()?;
        Self::new(rows, columns, Values::of(backend, tensor)?)
    }

    pub(super) fn masked(&self, mask: Mask) -> Result<Masked> {
        let mask = mask.filter(|(_, cut)| *cut > 0);
        if let Some((ranks, _)) = mask
            && ranks.len() != self.values.len()
        {
            let (expected, found) = (self.values.len(), ranks.len());
            return Err(Error::invalid(format!("{expected} weights need as many ranks, found {found}")));
        }
        Ok(Masked {
            of: [self.values.name(), mask.map_or("u16", |(ranks, _)| ranks.name())],
            ranks: mask.map_or(0, |(ranks, _)| ranks.address()),
            cut: mask.map_or(0, |(_, cut)| u64::from(cut)),
        })
    }
}
