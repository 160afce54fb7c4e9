//! What tells models of one name and shape apart.

use candle_core::{DType, Device, Tensor};

use super::{Model, Part};
use crate::progress::Tick;
use crate::{
    digest::{content, sha256},
    error::Result,
};

impl Model {
    /// A digest of all that it computes with: its config and every weight. It is the same wherever the model lies; `None` for
    /// types that are not kept.
    pub fn digest(&self, tick: Tick) -> Result<Option<String>> {
        // BLAKE3: whole models are read at each start, and not every processor has instructions for SHA-256.
        let mut all = blake3::Hasher::new();
        all.update(format!("{:?} {:?} {}", self.config, self.dtype, self.processed).as_bytes());
        for tensor in self.tensors() {
            tick()?;
            all.update(format!("{:?}", tensor.shape()).as_bytes());
            match self.known.get(&tensor.id()) {
                Some(known) => all.update(known),
                None => match content(tensor) {
                    Some(found) => all.update(&found),
                    None => return Ok(None),
                },
            };
        }
        Ok(Some(all.finalize().to_string()))
    }

    /// A digest of the first row of every matrix: another checkpoint of the same model has another one. It is the same wherever the
    /// model lies, in one type of weights.
    pub fn mark(&self) -> Result<String> {
        let of_blocks = self.blocks.iter().flat_map(|block| Part::ALL.map(|part| block.linear(part)));
        let matrices = of_blocks.chain([&self.unembed]).map(|linear| &linear.weight).chain([&self.embed]);
        let mut bytes = Vec::new();
        for matrix in matrices {
            bytes.extend(first_row(matrix)?.into_iter().flat_map(f32::to_le_bytes));
        }
        Ok(sha256(&bytes)[..16].to_owned())
    }
}

fn first_row(matrix: &Tensor) -> Result<Vec<f32>> {
    Ok(matrix.get(0)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    #[test]
    fn another_matrix_has_another_mark() {
        let mut model = demo::model(&Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap();
        let mark = model.mark().unwrap();
        assert_eq!(demo::model(&Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap().mark().unwrap(), mark);
        let weight = &mut model.blocks[1].linear_mut(Part::MlpOut).weight;
        *weight = (&*weight * 1.001).unwrap();
        assert_ne!(model.mark().unwrap(), mark);
    }
}
