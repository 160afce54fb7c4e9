//! What a rule decided about a model, a bit a weight, so that it need not be decided again.

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
            bits.extend(original.ops.same_bits(before, after)?);
        }
    }
    Ok(bits)
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
                *tensor = original.ops.keep_bits(tensor, own)?;
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(model) } else { Err(wrong()) }
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
    use candle_core::{DType, Device, Tensor};
    use prunelens_kernels::Sparsity;

    use super::*;
    use crate::{demo, prune::structured::Unit};

    /// With zeros of either sign among its weights, as models in 16 bits have them.
    fn with_zeros(dtype: DType) -> Model {
        let mut model = demo::model(&Device::Cpu, dtype, &mut |_| Ok(())).unwrap();
        for block in &mut model.blocks {
            for part in Part::ALL {
                let weight = &mut block.linear_mut(part).weight;
                let mut values = weight.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values.iter_mut().step_by(7).for_each(|value| *value = 0.0);
                values.iter_mut().step_by(5).for_each(|value| *value = -0.0);
                let values = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
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
        }
        let why = of(&with_zeros(DType::F32), &with_zeros(DType::F16)).unwrap_err();
        assert!(why.to_string().contains("the bits of F32 and F16"), "{why}");
    }
}
