//! What lies in a card's memory: arrays of numbers, and matrices with the ranks of their weights.

use std::{any::Any, marker::PhantomData};

use half::{bf16, f16};

use super::Card;
use crate::{
    error::{Error, Result},
    prune::Ranks,
};

/// A piece of a card's memory; given back when its owner is dropped.
pub struct Memory {
    pub address: u64,
    pub bytes: usize,
    pub owner: Box<dyn Any + Send + Sync>,
}

mod sealed {
    pub trait Sealed {}
}

/// A number that a kernel reads as it is: every pattern of bits is one, and there is no padding.
pub trait Element: Copy + Default + sealed::Sealed {}

macro_rules! elements {
    ($($element:ty),*) => { $(impl sealed::Sealed for $element {} impl Element for $element {})* };
}
elements!(u8, u16, u32, u64, f32, f64, bf16, f16);

/// Numbers of one type on a card.
pub struct Buffer<T> {
    memory: Memory,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Room for `len` numbers, whose values mean nothing yet.
    pub fn new(card: &dyn Card, len: usize) -> Result<Self> {
        let bytes =
            len.checked_mul(size_of::<T>()).ok_or_else(|| Error::invalid(format!("{len} numbers are too many")))?;
        // An empty array still needs an address.
        Ok(Self { memory: card.allocate(bytes.max(1))?, len, element: PhantomData })
    }

    pub fn zeros(card: &dyn Card, len: usize) -> Result<Self> {
        let mut buffer = Self::new(card, len)?;
        card.clear(&mut buffer.memory)?;
        Ok(buffer)
    }

    pub fn from_slice(card: &dyn Card, values: &[T]) -> Result<Self> {
        let mut buffer = Self::new(card, values.len())?;
        if !values.is_empty() {
            // SAFETY: an element is plain bits without padding.
            let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
            card.write(&mut buffer.memory, bytes)?;
        }
        Ok(buffer)
    }

    pub fn to_vec(&self, card: &dyn Card) -> Result<Vec<T>> {
        let mut values = vec![T::default(); self.len];
        if self.len > 0 {
            // SAFETY: an element is plain bits without padding, and any bits are one.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values.as_slice())) };
            card.read(&self.memory, bytes)?;
        }
        Ok(values)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

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

/// The address of an array that may be absent.
pub(super) fn address<T: Element>(buffer: Option<&Buffer<T>>) -> u64 {
    buffer.map_or(0, Buffer::address)
}

/// Weights or logits in the type they are stored in.
pub enum Values {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
    F16(Buffer<f16>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

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

    /// Room for as many numbers of the same type.
    pub(super) fn like(&self, card: &dyn Card) -> Result<Self> {
        Ok(match self {
            Self::F32(values) => Self::F32(Buffer::new(card, values.len())?),
            Self::Bf16(values) => Self::Bf16(Buffer::new(card, values.len())?),
            Self::F16(values) => Self::F16(Buffer::new(card, values.len())?),
        })
    }
}

/// [`Ranks`] on a card.
pub enum CardRanks {
    U16(Buffer<u16>),
    U32(Buffer<u32>),
}

impl CardRanks {
    pub fn new(card: &dyn Card, ranks: &Ranks) -> Result<Self> {
        Ok(match ranks {
            Ranks::U16(ranks) => Self::U16(Buffer::from_slice(card, ranks)?),
            Ranks::U32(ranks) => Self::U32(Buffer::from_slice(card, ranks)?),
        })
    }

    pub fn to_ranks(&self, card: &dyn Card) -> Result<Ranks> {
        Ok(match self {
            Self::U16(ranks) => Ranks::U16(ranks.to_vec(card)?),
            Self::U32(ranks) => Ranks::U32(ranks.to_vec(card)?),
        })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::U16(ranks) => ranks.len(),
            Self::U32(ranks) => ranks.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

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

/// A matrix `[rows, columns]`, and the rank of each weight if it is to be pruned. A weight counts where its rank reaches the
/// cut; at a cut of 0 no ranks are read.
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Values,
    pub ranks: Option<CardRanks>,
}

impl Matrix {
    pub fn new(rows: usize, columns: usize, values: Values, ranks: Option<CardRanks>) -> Result<Self> {
        let (expected, found) = (rows * columns, values.len());
        if expected != found {
            return Err(Error::invalid(format!(
                "a matrix of {rows} x {columns} needs {expected} weights, found {found}"
            )));
        }
        if let Some(found) = ranks.as_ref().map(CardRanks::len).filter(|len| *len != expected) {
            return Err(Error::invalid(format!("{expected} weights need as many ranks, found {found}")));
        }
        Ok(Self { rows, columns, values, ranks })
    }

    /// The kernel's name for these types, and the address of the ranks: none at a cut of 0.
    pub(super) fn masked(&self, kernel: &str, cut: u32) -> Result<(String, u64)> {
        let ranks = self.ranks.as_ref();
        if cut > 0 && ranks.is_none() {
            return Err(Error::invalid("the weights have no ranks on the GPU: rank them before a ratio is applied"));
        }
        let name = format!("{kernel}_{}_{}", self.values.name(), ranks.map_or("u16", CardRanks::name));
        Ok((name, ranks.filter(|_| cut > 0).map_or(0, CardRanks::address)))
    }
}
