//! Digests of what is stored and compared later: the same on every machine and with every compiler.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor, TensorId};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Numbers that have a digest of their own.
pub(crate) const STRETCH: usize = 1 << 18;

/// Digests of stretches of values, one after the other: they are taken side by side.
pub(crate) fn stretches<T: Sync, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N] + Sync) -> Vec<u8> {
    let stretch = |values: &[T]| {
        let mut sum = blake3::Hasher::new();
        let mut buffer = [[0; N]; 1 << 14];
        for some in values.chunks(1 << 14) {
            buffer.iter_mut().zip(some).for_each(|(to, value)| *to = bytes(value));
            sum.update(buffer[..some.len()].as_flattened());
        }
        sum.finalize().as_bytes().to_vec()
    };
    values.par_chunks(STRETCH).flat_map_iter(stretch).collect()
}

/// Of bytes of any length, by several threads.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(blake3::hash(&stretches(bytes, |byte| [*byte])).as_bytes())
}

/// Digests of stretches of a tensor's values, wherever it lies. `None` for types that are not kept, and for a GPU that does not
/// give its memory back.
pub fn content(tensor: &Tensor) -> Option<Vec<u8>> {
    if !matches!(tensor.dtype(), DType::F32 | DType::BF16 | DType::F16) {
        return None;
    }
    let here = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor.contiguous()).ok()?;
    let (storage, layout) = here.storage_and_layout();
    let (start, end) = layout.contiguous_offsets()?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(v)) => Some(stretches(&v[start..end], |v| v.to_le_bytes())),
        Storage::Cpu(CpuStorage::BF16(v)) => Some(stretches(&v[start..end], |v| v.to_le_bytes())),
        Storage::Cpu(CpuStorage::F16(v)) => Some(stretches(&v[start..end], |v| v.to_le_bytes())),
        _ => None,
    }
}

/// What [`content`] gives of some tensors, which are known by their ids: no other ever has one of these.
pub type TensorDigests = HashMap<TensorId, Vec<u8>>;

/// Two hexadecimal digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a over numbers, each taken whole: it tells texts and figures of our own apart, and no enemy's.
pub fn fnv1a(values: impl IntoIterator<Item = u64>) -> u64 {
    let mut hash = Fnv1a::default();
    values.into_iter().for_each(|value| hash.add(value));
    hash.0
}

/// FNV-1a over whatever can be hashed.
pub fn fnv1a_of(value: &impl Hash) -> u64 {
    let mut hash = Fnv1a::default();
    value.hash(&mut hash);
    hash.0
}

/// The standard library's own hasher may change with the compiler; this one does not.
#[derive(Clone, Copy, Debug)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01b3);
    }
}

/// Numbers count by their value, not by their width or the machine's order of bytes.
impl Hasher for Fnv1a {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    fn write_u16(&mut self, value: u16) {
        self.add(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.add(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The published test vectors of FNV-1a, 64 bits.
        assert_eq!(fnv1a([]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a([u64::from(b'a')]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar".bytes().map(u64::from)), 0x8594_4171_f739_67e8);
        assert!(sha256(b"abc").starts_with("ba7816bf8f01cfea") && sha256(b"").len() == 64);
    }

    #[test]
    fn values_are_told_apart() {
        assert_eq!(fnv1a_of(&("a", 3_usize)), fnv1a_of(&("a".to_owned(), 3_u64)));
        assert_ne!(fnv1a_of(&("a", 3_usize)), fnv1a_of(&("a", 4_usize)));
        assert_ne!(fnv1a_of(&["ab", "c"]), fnv1a_of(&["a", "bc"]));
    }
}
