//! A model on another device, or in another type.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, Tensor, TensorId};
use prunelens_kernels::{ops::Ops, with_f32};

use super::{Block, Linear, Model, Norm, Rotary, config::Rope};
use crate::error::Result;

/// Moves models. What models share, their moved copies share too.
pub struct ToDevice {
    device: Device,
    ops: Arc<dyn Ops>,
    dtype: DType,
    known: HashMap<TensorId, Tensor>,
    peers: Peers,
}

/// Whether one GPU's memory can be copied to another without the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Peers {
    #[default]
    Untried,
    Work,
    Fail,
}

/// Numbers by which a first copy is judged.
const JUDGED: usize = 1 << 20;

impl Peers {
    /// Copies in the one way while that gives what was sent, else and from then on in the other. What is copied is there when `direct`
    /// returns.
    fn copy(
        &mut self,
        tensor: &Tensor,
        direct: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
        by_processor: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        if *self != Self::Fail {
            match direct(tensor) {
                // Some machines copy between GPUs without an error, and wrongly.
                Ok(copy) if *self == Self::Work || same(tensor, &copy)? => {
                    *self = Self::Work;
                    return Ok(copy);
                }
                _ => *self = Self::Fail,
            }
        }
        Ok(by_processor(tensor)?)
    }
}

/// Whether two tensors begin alike.
fn same(a: &Tensor, b: &Tensor) -> Result<bool> {
    let begin = |tensor: &Tensor| -> Result<Vec<u32>> {
        let flat = tensor.flatten_all()?;
        // By itself first: what moves is all that a tensor is a part of.
        let part = flat.narrow(0, 0, flat.elem_count().min(JUDGED))?.force_contiguous()?;
        let part = part.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        with_f32(&part, |values| values.iter().map(|value| value.to_bits()).collect())
    };
    Ok(begin(a)? == begin(b)?)
}

impl ToDevice {
    /// Models will lie there, in this type, and work by these operations, which are the device's.
    pub fn new(device: &Device, dtype: DType, ops: Arc<dyn Ops>) -> Self {
        Self { device: device.clone(), ops, dtype, known: HashMap::new(), peers: Peers::default() }
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
            known: Arc::default(),
            warnings: model.warnings.clone(),
        })
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        self.tensor_in(tensor, self.dtype)
    }

    fn tensor_in(&mut self, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
        if let Some(known) = self.known.get(&tensor.id()) {
            return Ok(known.clone());
        }
        let narrow = tensor.to_dtype(dtype)?;
        let moved = match narrow.device().is_cpu() || self.device.is_cpu() || narrow.device().same_device(&self.device)
        {
            true => narrow.to_device(&self.device)?,
            false => {
                // The copy is the other GPU's work: what it reads is here until it is done.
                let direct = |tensor: &Tensor| {
                    let copy = tensor.to_device(&self.device)?;
                    self.device.synchronize().map(|()| copy)
                };
                let by_processor = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_device(&self.device);
                self.peers.copy(&narrow.force_contiguous()?, direct, by_processor)?
            }
        };
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
        let dtype = Norm::dtype(self.dtype);
        let mut own = |tensor: &Option<Tensor>| tensor.as_ref().map(|t| self.tensor_in(t, dtype)).transpose();
        Ok(Norm { weight: own(&norm.weight)?, bias: own(&norm.bias)?, ..norm.clone() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_taken_by_what_arrives() {
        let sent = Tensor::new(&[1.0_f32, -0.0, f32::NAN], &Device::Cpu).unwrap();
        let right = |tensor: &Tensor| tensor.copy();
        let wrong = |tensor: &Tensor| tensor.zeros_like();
        let never = |_: &Tensor| -> candle_core::Result<Tensor> { panic!("the other way was to be taken") };
        let arrived = |tensor: Result<Tensor>| same(&tensor.unwrap(), &sent).unwrap();

        let mut peers = Peers::default();
        assert!(arrived(peers.copy(&sent, right, never)) && peers == Peers::Work);
        assert!(arrived(peers.copy(&sent, right, never)));
        // An error later on is no reason to stop.
        let fails = |_: &Tensor| Err(candle_core::Error::Msg("no peer".into()));
        assert!(arrived(peers.copy(&sent, fails, right)) && peers == Peers::Fail);

        let mut peers = Peers::default();
        assert!(arrived(peers.copy(&sent, wrong, right)) && peers == Peers::Fail);
        assert!(arrived(peers.copy(&sent, never, right)), "a way that failed is not tried again");
    }
}
