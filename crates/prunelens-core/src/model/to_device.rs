//! A model on another device, or in another type.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, Tensor, TensorId};
use prunelens_kernels::ops::Ops;

use super::{Block, Linear, Model, Norm, Rotary, config::Rope};
use crate::error::Result;

/// Moves models. What models share, their moved copies share too.
pub struct ToDevice {
    device: Device,
    ops: Arc<dyn Ops>,
    dtype: DType,
    known: HashMap<TensorId, Tensor>,
}

impl ToDevice {
    /// Models will lie there, in this type, and work by these operations, which are the device's.
    pub fn new(device: &Device, dtype: DType, ops: Arc<dyn Ops>) -> Self {
        Self { device: device.clone(), ops, dtype, known: HashMap::new() }
    }

    /// A copy of a model there.
    pub fn model(&mut self, model: &Model) -> Result<Model> {
        Ok(Model {
            name: model.name.clone(),
            config: model.config.clone(),
            device: self.device.clone(),
            ops: self.ops.clone(),
            dtype: self.dtype,
            embed: self.tensor(&model.embed)?,
            positions: self.optional(&model.positions)?,
            rotary: self.rotary(&model.config.rope),
            rotary_local: self.rotary(&model.config.rope_local),
            blocks: model.blocks.iter().map(|block| self.block(block)).collect::<Result<_>>()?,
            ln_final: self.norm(&model.ln_final)?,
            unembed: self.linear(&model.unembed)?,
            processed: model.processed,
            warnings: model.warnings.clone(),
        })
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        if let Some(known) = self.known.get(&tensor.id()) {
            return Ok(known.clone());
        }
        let mut moved = tensor.to_dtype(self.dtype)?;
        if !moved.device().is_cpu() && !self.device.is_cpu() {
            // From GPU to GPU by way of the CPU: the two take turns for nobody, nor need they see each other.
            moved = moved.force_contiguous()?.to_device(&Device::Cpu)?;
        }
        let moved = moved.to_device(&self.device)?;
        self.known.insert(tensor.id(), moved.clone());
        Ok(moved)
    }

    fn optional(&mut self, tensor: &Option<Tensor>) -> Result<Option<Tensor>> {
        tensor.as_ref().map(|tensor| self.tensor(tensor)).transpose()
    }

    fn linear(&mut self, linear: &Linear) -> Result<Linear> {
        Ok(Linear { weight: self.tensor(&linear.weight)?, bias: self.optional(&linear.bias)? })
    }

    fn norm(&mut self, norm: &Norm) -> Result<Norm> {
        Ok(Norm { weight: self.optional(&norm.weight)?, bias: self.optional(&norm.bias)?, ..norm.clone() })
    }

    fn norms(&mut self, norm: &Option<Norm>) -> Result<Option<Norm>> {
        norm.as_ref().map(|norm| self.norm(norm)).transpose()
    }

    fn rotary(&self, rope: &Option<Rope>) -> Option<Rotary> {
        rope.as_ref().map(|rope| Rotary::new(rope, &self.device))
    }

    fn block(&mut self, block: &Block) -> Result<Block> {
        Ok(Block {
            ln1: self.norm(&block.ln1)?,
            ln2: self.norm(&block.ln2)?,
            ln1_post: self.norms(&block.ln1_post)?,
            ln2_post: self.norms(&block.ln2_post)?,
            qk_norms: match &block.qk_norms {
                Some([q, k]) => Some([self.norm(q)?, self.norm(k)?]),
                None => None,
            },
            qkv: self.linear(&block.qkv)?,
            o: self.linear(&block.o)?,
            mlp_in: self.linear(&block.mlp_in)?,
            mlp_out: self.linear(&block.mlp_out)?,
        })
    }
}
