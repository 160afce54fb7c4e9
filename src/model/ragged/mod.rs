//! Texts of different lengths read side by side without padding: keys and values are kept, so that texts can share a
//! beginning and be read on token by token; a pass can stop at a hook, go on with another activation there, and take a
//! gradient back to it. On the CPU in f32; the model's weights are constants.

mod block;
mod generate;
mod gradient;
mod pass;
#[cfg(test)]
mod tests;
mod text;

pub use generate::likeliest;
pub use gradient::Trace;
pub use pass::Stopped;
pub use text::{Prefix, Text};

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Block, Linear, Model, Norm, Rotary, config::Rope};
use crate::{error::Result, kernels::on_cpu_f32};

/// The model itself if it can read ragged texts, else a copy that can: on the CPU, in f32.
pub fn readable(model: &Arc<Model>) -> Result<Arc<Model>> {
    if on_cpu_f32(&model.embed) {
        return Ok(model.clone());
    }
    let tensor = |t: &Tensor| -> Result<Tensor> { Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?) };
    let optional = |t: &Option<Tensor>| t.as_ref().map(tensor).transpose();
    let linear = |l: &Linear| -> Result<Linear> { Ok(Linear { weight: tensor(&l.weight)?, bias: optional(&l.bias)? }) };
    let norm =
        |n: &Norm| -> Result<Norm> { Ok(Norm { weight: optional(&n.weight)?, bias: optional(&n.bias)?, ..n.clone() }) };
    let rotary = |rope: &Option<Rope>| rope.as_ref().map(|rope| Rotary::new(rope, &Device::Cpu));
    let block = |b: &Block| -> Result<Block> {
        Ok(Block {
            ln1: norm(&b.ln1)?,
            ln2: norm(&b.ln2)?,
            ln1_post: b.ln1_post.as_ref().map(norm).transpose()?,
            ln2_post: b.ln2_post.as_ref().map(norm).transpose()?,
            qk_norms: match &b.qk_norms {
                Some([q, k]) => Some([norm(q)?, norm(k)?]),
                None => None,
            },
            qkv: linear(&b.qkv)?,
            o: linear(&b.o)?,
            mlp_in: linear(&b.mlp_in)?,
            mlp_out: linear(&b.mlp_out)?,
        })
    };
    Ok(Arc::new(Model {
        name: model.name.clone(),
        config: model.config.clone(),
        device: Device::Cpu,
        dtype: DType::F32,
        embed: tensor(&model.embed)?,
        positions: optional(&model.positions)?,
        rotary: rotary(&model.config.rope),
        rotary_local: rotary(&model.config.rope_local),
        blocks: model.blocks.iter().map(block).collect::<Result<_>>()?,
        ln_final: norm(&model.ln_final)?,
        unembed: linear(&model.unembed)?,
        processed: model.processed,
    }))
}
