//! What a model's files hold: how each matrix is stored, in how many bits, and how many of its numbers are zero.

use serde::Serialize;

use super::Opened;
use crate::error::Result;
use crate::progress::Tick;

/// One matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// As the reference libraries name it.
    pub name: String,
    /// As the libraries have it.
    pub shape: Vec<usize>,
    /// "GPTQ 4 bits, groups of 32"; a type of floats where it is not compressed.
    pub scheme: String,
    /// It is stored in another way than it is computed with.
    pub compressed: bool,
    /// Of its codes, scales, zero points and masks, over its weights.
    pub bits_per_weight: f64,
    /// Numbers that are 0 once dequantised.
    pub zeros: u64,
    /// How many numbers.
    pub weights: u64,
}

/// All of them, and what they come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// As users know it.
    pub model: String,
    /// `model_type` of its config.
    pub family: String,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Of the compressed matrices; where none is, of all matrices of the blocks.
    pub bits_per_weight: f64,
    /// Of the same.
    pub share_of_zeros: f64,
    /// In the order of the model.
    pub matrices: Vec<Matrix>,
    /// What to know before trusting figures.
    pub warnings: Vec<String>,
}

impl Opened {
    /// Read every tensor that the model takes, and say what it is.
    pub fn contents(&self, tick: Tick) -> Result<Contents> {
        let quantised = self.weights.quantised();
        let (mut matrices, mut parameters) = (Vec::new(), 0);
        for parameter in self.parameters()? {
            tick()?;
            let values = self.values(&parameter)?;
            let weights = values.len() as u64;
            parameters += weights;
            if parameter.shape.len() != 2 {
                continue;
            }
            let found = quantised.iter().find(|found| found.name == parameter.stored);
            let (kind, bits) = self.weights.stored(&parameter.stored).unwrap_or_default();
            matrices.push(Matrix {
                name: parameter.published,
                shape: parameter.shape,
                scheme: found.map_or(kind, |found| found.scheme.clone()),
                compressed: found.is_some(),
                bits_per_weight: found.map_or(bits, |found| found.bits) as f64 / weights.max(1) as f64,
                zeros: values.iter().filter(|value| **value == 0.0).count() as u64,
                weights,
            });
        }
        let any = matrices.iter().any(|matrix| matrix.compressed);
        let counted = |matrix: &&Matrix| matrix.compressed || (!any && is_of_a_block(&matrix.name));
        let (mut weights, mut bits, mut zeros) = (0, 0.0, 0);
        for matrix in matrices.iter().filter(counted) {
            weights += matrix.weights;
            bits += matrix.bits_per_weight * matrix.weights as f64;
            zeros += matrix.zeros;
        }
        let over = weights.max(1) as f64;
        Ok(Contents {
            model: self.name.clone(),
            family: self.config.family.clone(),
            bytes: self.weights.bytes(),
            parameters,
            bits_per_weight: bits / over,
            share_of_zeros: zeros as f64 / over,
            matrices,
            warnings: self.config.warnings.iter().chain(&self.weights.notes).cloned().collect(),
        })
    }
}

/// Names of blocks' tensors have a number in them.
fn is_of_a_block(name: &str) -> bool {
    name.split('.').any(|part| part.parse::<usize>().is_ok())
}
