//! What a rule decided about a model, a bit a weight, so that it need not be decided again.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::{bf16, f16, vec::HalfBitsVecExt};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    model::{Model, Part},
    progress::Tick,
};

/// Which weights and biases of all blocks are left as they were, block by block and part by part: bit 1 where one is, to the sign
/// of a zero.
pub fn of(original: &Model, pruned: &Model) -> Result<Vec<u8>> {
    let mut bits = Vec::new();
    for (before, after) in original.blocks.iter().zip(&pruned.blocks) {
        let both = |part| before.linear(part).tensors().zip(after.linear(part).tensors());
        for (before, after) in Part::ALL.into_iter().flat_map(both) {
            push_same(before, after, &mut bits)?;
        }
    }
    Ok(bits)
}

/// A bit for each number of two tensors of one shape, eight in a byte, the first the lowest: 1 where they are the same bits.
fn push_same(before: &Tensor, after: &Tensor, bits: &mut Vec<u8>) -> Result<()> {
    fn push<T: Copy + Sync, B: PartialEq>(before: &[T], after: &[T], of: impl Fn(T) -> B + Sync, bits: &mut Vec<u8>) {
        let byte = |(before, after): (&[T], &[T])| {
            let same = before.iter().zip(after).map(|(before, after)| u8::from(of(*before) == of(*after)));
            same.enumerate().fold(0, |bits, (at, same)| bits | same << at)
        };
        bits.par_extend(before.par_chunks(8).zip(after.par_chunks(8)).map(byte));
    }
    let (before, after) = (on_cpu(before)?, on_cpu(after)?);
    let ((a, here), (b, there)) = (before.storage_and_layout(), after.storage_and_layout());
    let (Storage::Cpu(a), Some(here), Storage::Cpu(b), Some(there)) =
        (&*a, here.contiguous_offsets(), &*b, there.contiguous_offsets())
    else {
        return Err(Error::invalid("masks are of weights that lie in one piece"));
    };
    let (here, there) = (here.0..here.1, there.0..there.1);
    match (a, b) {
        (CpuStorage::F32(a), CpuStorage::F32(b)) => push(&a[here], &b[there], f32::to_bits, bits),
        (CpuStorage::BF16(a), CpuStorage::BF16(b)) => push(&a[here], &b[there], bf16::to_bits, bits),
        (CpuStorage::F16(a), CpuStorage::F16(b)) => push(&a[here], &b[there], f16::to_bits, bits),
        _ => {
            let (a, b) = (before.dtype(), after.dtype());
            return Err(Error::invalid(format!("masks are not made of weights in {a:?} that became {b:?}")));
        }
    }
    Ok(())
}

/// The model with these weights left, as [`of`] gave them.
pub fn apply(original: &Model, bits: &[u8], tick: Tick) -> Result<Model> {
    let wrong = || Error::invalid("masks of another model");
    let mut model = original.clone();
    let mut rest = bits;
    for block in &mut model.blocks {
        for part in Part::ALL {
            tick()?;
            for tensor in block.linear_mut(part).tensors_mut() {
                let (own, after) = rest.split_at_checked(tensor.elem_count().div_ceil(8)).ok_or_else(wrong)?;
                *tensor = masked(tensor, own)?;
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(model) } else { Err(wrong()) }
}

/// The numbers where they can be read: a copy of what a GPU holds, else the same.
fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.contiguous()?)
}

fn masked(weight: &Tensor, bits: &[u8]) -> Result<Tensor> {
    if !weight.device().is_cpu() {
        return masked_there(weight, bits);
    }
    let (storage, layout) = weight.storage_and_layout();
    let (Storage::Cpu(values), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(Error::invalid("masks are for weights that lie in one piece"));
    };
    let (shape, device) = (weight.shape(), weight.device());
    Ok(match values {
        CpuStorage::F32(v) => {
            let kept = put(&v[start..end], bits, |v, bit| f32::from_bits(v.to_bits() & 0_u32.wrapping_sub(bit.into())));
            Tensor::from_vec(kept, shape, device)?
        }
        // As whole numbers: memory for these comes as zeros, and is not written twice.
        CpuStorage::BF16(v) => {
            let kept = put(&v[start..end], bits, |v, bit| v.to_bits() & 0_u16.wrapping_sub(bit.into()));
            Tensor::from_vec(kept.reinterpret_into::<bf16>(), shape, device)?
        }
        CpuStorage::F16(v) => {
            let kept = put(&v[start..end], bits, |v, bit| v.to_bits() & 0_u16.wrapping_sub(bit.into()));
            Tensor::from_vec(kept.reinterpret_into::<f16>(), shape, device)?
        }
        _ => return Err(Error::invalid(format!("masks are not made for weights in {:?}", weight.dtype()))),
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

/// The same on a GPU, which is sent the bits and looks up what each byte keeps.
fn masked_there(weight: &Tensor, bits: &[u8]) -> Result<Tensor> {
    let kept: Vec<u8> = (0..=u8::MAX).flat_map(|byte| (0..8).map(move |at| byte >> at & 1)).collect();
    let kept = Tensor::from_vec(kept, (256, 8), weight.device())?;
    // Not as bytes: 255 would be no index for candle.
    let bytes = Tensor::from_slice(bits, bits.len(), weight.device())?.to_dtype(DType::U32)?;
    let kept = kept.index_select(&bytes, 0)?.flatten_all()?.narrow(0, 0, weight.elem_count())?;
    Ok(kept.reshape(weight.shape())?.where_cond(weight, &weight.zeros_like()?)?)
}

/// Share of the weights of all blocks' matrices that are 0.
pub fn zeros(model: &Model) -> Result<f64> {
    let (mut zeros, mut all) = (0, 0);
    for block in &model.blocks {
        for part in Part::ALL {
            let weight = &block.linear(part).weight;
            zeros += weight.flatten_all()?.eq(0.0)?.to_vec1::<u8>()?.par_iter().filter(|zero| **zero == 1).count();
            all += weight.elem_count();
        }
    }
    Ok(zeros as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use prunelens_kernels::Sparsity;

    use super::*;
    use crate::{demo, digest::content, prune::structured::Unit};

    /// With zeros of either sign among its weights, as models in 16 bits have them.
    fn with_zeros(dtype: DType) -> Model {
        let mut model = demo::model(&candle_core::Device::Cpu, dtype, &mut |_| Ok(())).unwrap();
        for block in &mut model.blocks {
            for part in Part::ALL {
                let weight = &mut block.linear_mut(part).weight;
                let mut values = weight.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values.iter_mut().step_by(7).for_each(|value| *value = 0.0);
                values.iter_mut().step_by(5).for_each(|value| *value = -0.0);
                let values = Tensor::from_vec(values, weight.shape(), &candle_core::Device::Cpu).unwrap();
                *weight = values.to_dtype(dtype).unwrap();
            }
        }
        model
    }

    fn digest(model: &Model) -> Option<String> {
        model.digest(&mut || Ok(())).unwrap()
    }

    #[test]
    fn masks_give_the_pruned_model_to_the_bit() {
        let rows = vec![vec![(1..40).collect::<Vec<u32>>()]];
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let model = with_zeros(dtype);
            let ratio = model.wanda(&rows, Sparsity::Ratio(0.5), &mut |_| Ok(())).unwrap();
            let units = [Unit::Heads, Unit::Neurons, Unit::Blocks];
            let units = units.map(|unit| model.structured(unit, 0.25, &rows, &mut |_| Ok(())).unwrap());
            for pruned in [ratio].iter().chain(&units) {
                let bits = of(&model, pruned).unwrap();
                let again = apply(&model, &bits, &mut || Ok(())).unwrap();
                assert_eq!(digest(&again), digest(pruned), "{dtype:?}");
                assert_ne!(digest(&again), digest(&model), "{dtype:?}");
                assert!(apply(&model, &bits[1..], &mut || Ok(())).is_err());
            }
            // As a GPU does it, with a number of weights that eight do not divide.
            let weight = model.blocks[0].mlp_in.weight.narrow(0, 0, 3).unwrap().narrow(1, 0, 7).unwrap();
            let weight = weight.contiguous().unwrap();
            let bits = [0b1010_0110, 0xff, 0b1_0000];
            let [here, there] = [masked(&weight, &bits).unwrap(), masked_there(&weight, &bits).unwrap()];
            assert_eq!(content(&here), content(&there), "{dtype:?}");
            assert_ne!(content(&here), content(&weight), "{dtype:?}");
        }
        let why = of(&with_zeros(DType::F32), &with_zeros(DType::F16)).unwrap_err();
        assert!(why.to_string().contains("F32 that became F16"), "{why}");
    }
}
