//! Memory of the processor that is written to a GPU from, again and again: weights on their way from a file.

use std::fmt;

use super::{Backend, Element, Memory};
use crate::error::{Error, Result};

/// To be filled and sent, and filled again. Page-locked where a driver gives that: the GPU reads it by itself while the processor
/// goes on, and what it holds is waited for before it is filled anew.
pub enum Staging {
    /// The processor's own, whose numbers are copied when they are sent.
    Plain(Vec<u64>),
    /// A driver's.
    #[cfg(feature = "cuda")]
    Locked(super::cuda::PageLocked),
}

impl Staging {
    /// The processor's own, of so many bytes.
    pub fn plain(bytes: usize) -> Self {
        Self::Plain(vec![0; bytes.div_ceil(size_of::<u64>())])
    }

    /// Its first `len` numbers, once the last that were sent are.
    pub fn numbers<T: Element>(&mut self, len: usize) -> Result<&mut [T]> {
        let bytes: &mut [u8] = match self {
            Self::Plain(words) => {
                // SAFETY: a word is plain bits without padding, and any bits are one.
                unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words.as_slice())) }
            }
            #[cfg(feature = "cuda")]
            Self::Locked(memory) => memory.bytes()?,
        };
        // SAFETY: an element is plain bits without padding, and any bits are one.
        let (_, numbers, _) = unsafe { bytes.align_to_mut::<T>() };
        let found = numbers.len();
        numbers.get_mut(..len).ok_or_else(|| Error::invalid(format!("expected room for {len} numbers, found {found}")))
    }

    /// Its first bytes to a GPU's memory, from a byte on. The numbers lie there for all that is launched afterwards.
    pub(super) fn send(&mut self, backend: &dyn Backend, bytes: usize, to: &mut Memory, start: usize) -> Result<()> {
        match self {
            Self::Plain(_) => backend.write(to, start, self.numbers(bytes)?),
            #[cfg(feature = "cuda")]
            Self::Locked(memory) => memory.send(bytes, to, start),
        }
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "memory of the processor",
            #[cfg(feature = "cuda")]
            Self::Locked(_) => "page-locked memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_room_for_numbers_of_every_type() {
        let mut staging = Staging::plain(12);
        staging.numbers::<f32>(3).unwrap().copy_from_slice(&[1.0, 2.0, 3.0]);
        assert_eq!(staging.numbers::<u32>(3).unwrap(), [1.0_f32, 2.0, 3.0].map(f32::to_bits));
        assert!(staging.numbers::<u16>(0).unwrap().is_empty());
        assert!(staging.numbers::<f64>(3).is_err());
    }
}
