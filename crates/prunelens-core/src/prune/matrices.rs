//! The matrices of a model's blocks one by one, as its checkpoint has them: what rules change.

use candle_core::{DType, Device, Tensor};

use crate::{
    error::Result,
    model::{Model, Part},
};

/// One matrix, `[outputs, inputs]` in f32.
pub struct Matrix {
    pub part: Part,
    /// As the checkpoint names it.
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

impl Model {
    /// Change the matrices of a block: the one function sees each of them.
    pub(super) fn change_block(
        &mut self,
        layer: usize,
        mut change: impl FnMut(&mut Matrix) -> Result<()>,
    ) -> Result<()> {
        let all = self.checkpoint_matrices()?;
        for part in Part::ALL {
            let weight = self.blocks[layer].linear(part).weight.clone();
            let cols = weight.dim(1)?;
            let mut values = f32s(&weight)?;
            for matrix in all.iter().filter(|matrix| matrix.layer == layer && matrix.part == part) {
                let gather = |row: &usize| values[row * cols..][..cols].iter().copied();
                let own = matrix.rows.iter().flat_map(gather).collect();
                let mut own = Matrix { part, name: matrix.name.clone(), rows: matrix.rows.len(), cols, values: own };
                change(&mut own)?;
                for (row, new) in matrix.rows.iter().zip(own.values.chunks(cols)) {
                    values[row * cols..][..cols].copy_from_slice(new);
                }
            }
            self.blocks[layer].linear_mut(part).weight = like(values, &weight)?;
        }
        Ok(())
    }
}

/// A tensor's numbers on the CPU.
pub fn f32s(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Numbers in the shape and type of a tensor, where it is.
pub fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?.to_dtype(tensor.dtype())?.to_device(tensor.device())?)
}
