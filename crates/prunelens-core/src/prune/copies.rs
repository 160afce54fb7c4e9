//! All that a rule made of a model's blocks, as bytes, for rules that change numbers rather than choose among them.

use candle_core::{CpuStorage, Device, Storage, Tensor};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    model::{Model, Part},
    progress::Tick,
};

/// Bytes that [`of`] gives.
pub fn size(model: &Model) -> u64 {
    let tensors =
        model.blocks.iter().flat_map(|block| Part::ALL.into_iter().flat_map(|part| block.linear(part).tensors()));
    tensors.map(|tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64).sum()
}

/// Matrices and biases of all blocks, block by block and part by part, in the type that they have.
pub fn of(model: &Model) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size(model)).unwrap_or(0));
    for block in &model.blocks {
        for tensor in Part::ALL.into_iter().flat_map(|part| block.linear(part).tensors()) {
            let here = tensor.to_device(&Device::Cpu)?.contiguous()?;
            let (storage, layout) = here.storage_and_layout();
            let (start, end) = layout.contiguous_offsets().unwrap_or_default();
            match &*storage {
                Storage::Cpu(CpuStorage::F32(v)) => push(&v[start..end], |v| v.to_le_bytes(), &mut bytes),
                Storage::Cpu(CpuStorage::BF16(v)) => push(&v[start..end], |v| v.to_le_bytes(), &mut bytes),
                Storage::Cpu(CpuStorage::F16(v)) => push(&v[start..end], |v| v.to_le_bytes(), &mut bytes),
                _ => return Err(Error::invalid(format!("weights in {:?} are not kept", tensor.dtype()))),
            }
        }
    }
    Ok(bytes)
}

fn push<T: Sync, const N: usize>(values: &[T], of: impl Fn(&T) -> [u8; N] + Sync, bytes: &mut Vec<u8>) {
    const PART: usize = 1 << 16;
    let start = bytes.len();
    bytes.resize(start + N * values.len(), 0);
    bytes[start..].par_chunks_mut(N * PART).zip(values.par_chunks(PART)).for_each(|(bytes, values)| {
        bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = of(value));
    });
}

/// The model with these matrices and biases, as [`of`] gave them.
pub fn apply(original: &Model, bytes: &[u8], tick: Tick) -> Result<Model> {
    let wrong = || Error::invalid("matrices of another model");
    let mut model = original.clone();
    let mut rest = bytes;
    for block in &mut model.blocks {
        for part in Part::ALL {
            tick()?;
            for tensor in block.linear_mut(part).tensors_mut() {
                let width = tensor.dtype().size_in_bytes();
                let (own, after) = rest.split_at_checked(tensor.elem_count() * width).ok_or_else(wrong)?;
                *tensor = Tensor::from_raw_buffer(own, tensor.dtype(), tensor.dims(), tensor.device())?;
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(model) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::{demo, prune::rtn::Rtn};

    #[test]
    fn a_copy_comes_back_to_the_bit() {
        for dtype in [DType::F32, DType::BF16] {
            let model = demo::model(&Device::Cpu, dtype, &mut |_| Ok(())).unwrap();
            let rounded = model.rtn(Rtn::parse(&["int4", "g16"]).unwrap(), None, &mut |_| Ok(())).unwrap();
            let bytes = of(&rounded).unwrap();
            assert_eq!(bytes.len() as u64, size(&rounded));
            let tick: Tick = &mut || Ok(());
            let again = apply(&model, &bytes, tick).unwrap();
            assert_eq!(again.digest(tick).unwrap(), rounded.digest(tick).unwrap());
            assert_ne!(again.digest(tick).unwrap(), model.digest(tick).unwrap());
            assert!(apply(&model, &bytes[1..], tick).is_err());
        }
    }
}
