//! Numbers of 16 bits as f32, which holds every one of them.

use candle_core::{CpuStorage, DType, Storage, Tensor};
use half::{bf16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use crate::error::Result;

/// Numbers that a thread takes at a time.
const PART: usize = 1 << 16;

/// A tensor in f32, by all threads where it lies on the processor in one piece.
pub fn widened(tensor: &Tensor) -> Result<Tensor> {
    let mut wide = Vec::new();
    match widen_into(tensor, &mut wide) {
        true => Ok(Tensor::from_vec(wide, tensor.shape(), tensor.device())?),
        false => Ok(tensor.to_dtype(DType::F32)?),
    }
}

/// The numbers of a tensor in f32, in memory that may be used again; false for one that is of other types, or lies otherwise.
pub fn widen_into(tensor: &Tensor, wide: &mut Vec<f32>) -> bool {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(values), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else { return false };
    if !matches!(values, CpuStorage::BF16(_) | CpuStorage::F16(_)) {
        return false;
    }
    wide.resize(end - start, 0.0);
    let parts = wide.par_chunks_mut(PART);
    match values {
        CpuStorage::BF16(v) => parts.zip(v[start..end].par_chunks(PART)).for_each(|(wide, v)| widen(v, wide)),
        CpuStorage::F16(v) => {
            parts.zip(v[start..end].par_chunks(PART)).for_each(|(wide, v)| v.convert_to_f32_slice(wide));
        }
        _ => return false,
    }
    true
}

crate::dispatch! {
    /// The upper half of an f32.
    fn widen(values: &[bf16], wide: &mut [f32]) {
        for (wide, value) in wide.iter_mut().zip(values) {
            *wide = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn all_numbers_of_16_bits_are_what_they_were() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let all = |numbers: Tensor| {
            let [ours, candles] = [widened(&numbers), numbers.to_dtype(DType::F32).map_err(Into::into)];
            let bits = |wide: Result<Tensor>| -> Vec<u32> {
                wide.unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
            };
            // What is no number stays none.
            let same = |(a, b): (&u32, &u32)| a == b || f32::from_bits(*a).is_nan() && f32::from_bits(*b).is_nan();
            let (ours, candles) = (bits(ours), bits(candles));
            assert!(ours.len() == candles.len() && ours.iter().zip(&candles).all(same));
        };
        let numbers: Vec<bf16> = bits.iter().map(|bits| bf16::from_bits(*bits)).collect();
        let numbers = Tensor::from_vec(numbers, bits.len(), &Device::Cpu).unwrap();
        all(numbers.narrow(0, 3, 60_000).unwrap());
        all(numbers);
        let numbers: Vec<half::f16> = bits.iter().map(|bits| half::f16::from_bits(*bits)).collect();
        all(Tensor::from_vec(numbers, bits.len(), &Device::Cpu).unwrap());
        let wide = Tensor::arange(0.0_f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        assert_eq!(
            widened(&wide.t().unwrap()).unwrap().to_vec2::<f32>().unwrap(),
            [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        );
    }
}
