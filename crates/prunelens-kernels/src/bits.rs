//! Which numbers of two tensors are the same, a bit each, eight in a byte, the first the lowest; and the numbers that such bits
//! keep.

use candle_core::{CpuStorage, Storage, Tensor};
use half::{bf16, f16, vec::HalfBitsVecExt};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// A bit for each number of two tensors of one shape: 1 where they are the same bits, to the sign of a zero.
pub fn same(before: &Tensor, after: &Tensor) -> Result<Vec<u8>> {
    fn bytes<T: Copy + Sync, B: PartialEq>(before: &[T], after: &[T], of: impl Fn(T) -> B + Sync) -> Vec<u8> {
        let byte = |(before, after): (&[T], &[T])| {
            let same = before.iter().zip(after).map(|(before, after)| u8::from(of(*before) == of(*after)));
            same.enumerate().fold(0, |bits, (at, same)| bits | same << at)
        };
        before.par_chunks(8).zip(after.par_chunks(8)).map(byte).collect()
    }
    let (before, after) = (before.contiguous()?, after.contiguous()?);
    let ((a, here), (b, there)) = (before.storage_and_layout(), after.storage_and_layout());
    let (Storage::Cpu(a), Some(here), Storage::Cpu(b), Some(there)) =
        (&*a, here.contiguous_offsets(), &*b, there.contiguous_offsets())
    else {
        return Err(Error::invalid("bits are compared of tensors on the CPU"));
    };
    let (here, there) = (here.0..here.1, there.0..there.1);
    match (a, b) {
        _ if here.len() != there.len() => {
            Err(Error::invalid(format!("expected {} numbers to be compared, found {}", here.len(), there.len())))
        }
        (CpuStorage::F32(a), CpuStorage::F32(b)) => Ok(bytes(&a[here], &b[there], f32::to_bits)),
        (CpuStorage::BF16(a), CpuStorage::BF16(b)) => Ok(bytes(&a[here], &b[there], bf16::to_bits)),
        (CpuStorage::F16(a), CpuStorage::F16(b)) => Ok(bytes(&a[here], &b[there], f16::to_bits)),
        _ => {
            let (a, b) = (before.dtype(), after.dtype());
            Err(Error::invalid(format!("the bits of {a:?} and {b:?} are not compared")))
        }
    }
}

/// The numbers whose bit is 1, zeros for all others.
pub fn keep(values: &Tensor, bits: &[u8]) -> Result<Tensor> {
    let (expected, found) = (values.elem_count().div_ceil(8), bits.len());
    if expected != found {
        return Err(Error::invalid(format!(
            "{} numbers need {expected} bytes of bits, found {found}",
            values.elem_count()
        )));
    }
    let values = values.contiguous()?;
    let (storage, layout) = values.storage_and_layout();
    let (Storage::Cpu(numbers), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(Error::invalid("bits keep numbers of tensors on the CPU"));
    };
    let (shape, device) = (values.shape(), values.device());
    let half = |v: u16, bit: u8| v & 0_u16.wrapping_sub(bit.into());
    Ok(match numbers {
        CpuStorage::F32(v) => {
            let kept = put(&v[start..end], bits, |v, bit| f32::from_bits(v.to_bits() & 0_u32.wrapping_sub(bit.into())));
            Tensor::from_vec(kept, shape, device)?
        }
        // As whole numbers: memory for these comes as zeros, and is not written twice.
        CpuStorage::BF16(v) => {
            let kept = put(&v[start..end], bits, |v, bit| half(v.to_bits(), bit));
            Tensor::from_vec(kept.reinterpret_into::<bf16>(), shape, device)?
        }
        CpuStorage::F16(v) => {
            let kept = put(&v[start..end], bits, |v, bit| half(v.to_bits(), bit));
            Tensor::from_vec(kept.reinterpret_into::<f16>(), shape, device)?
        }
        _ => return Err(Error::invalid(format!("bits do not keep numbers in {:?}", values.dtype()))),
    })
}

/// `kept` of each value and its bit.
fn put<T: Copy + Sync, B: Copy + Default + Send>(
    values: &[T],
    bits: &[u8],
    kept: impl Fn(T, u8) -> B + Sync,
) -> Vec<B> {
    const PART: usize = 1 << 15;
    let mut out = vec![B::default(); values.len()];
    let parts = out.par_chunks_mut(PART).zip(values.par_chunks(PART)).zip(bits.par_chunks(PART / 8));
    parts.for_each(|((out, values), bits)| {
        let (eights, rest) = out.as_chunks_mut::<8>();
        let (values, last) = values.as_chunks::<8>();
        for ((out, values), byte) in eights.iter_mut().zip(values).zip(bits) {
            for at in 0..8 {
                out[at] = kept(values[at], byte >> at & 1);
            }
        }
        let byte = bits.last().copied().unwrap_or(0);
        for (at, (out, value)) in rest.iter_mut().zip(last).enumerate() {
            *out = kept(*value, byte >> at & 1);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn what_is_kept_is_what_was_the_same() {
        for (len, dtype) in [(1, DType::F32), (8, DType::BF16), (45, DType::F16), (40_003, DType::F32)] {
            let numbers: Vec<f32> = (0..len).map(|n| n as f32 - 3.5).collect();
            let gone = |n: usize| n % 3 == 1 || n % 64 == 7;
            let left = numbers.iter().enumerate().map(|(n, value)| if gone(n) { 0.0 } else { *value }).collect();
            let tensor =
                |values: Vec<f32>| Tensor::from_vec(values, len, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let (before, after) = (tensor(numbers), tensor(left));
            let bits = same(&before, &after).unwrap();
            let all: Vec<bool> = (0..len).map(|n| bits[n / 8] >> (n % 8) & 1 == 1).collect();
            assert_eq!(all, (0..len).map(|n| !gone(n)).collect::<Vec<_>>(), "{dtype:?}");
            let again = same(&keep(&before, &bits).unwrap(), &after).unwrap();
            assert_eq!(again.iter().map(|byte| byte.count_ones()).sum::<u32>() as usize, len, "{dtype:?}");
            assert!(keep(&before, &bits[1..]).is_err());
        }
    }

    #[test]
    fn a_zero_of_the_other_sign_is_another() {
        let zero = Tensor::new(&[0.0_f32, -0.0, 0.0], &Device::Cpu).unwrap();
        let others = Tensor::new(&[-0.0_f32, -0.0, 0.0], &Device::Cpu).unwrap();
        assert_eq!(same(&zero, &others).unwrap(), [0b110]);
        assert!(same(&zero, &others.narrow(0, 0, 2).unwrap()).is_err());
        assert!(same(&zero, &others.to_dtype(DType::BF16).unwrap()).is_err());
    }
}
