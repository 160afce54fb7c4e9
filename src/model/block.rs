//! One transformer block.

use candle_core::Tensor;

use super::{
    config::Config,
    ops::{self, Linear, Norm},
};
use crate::{error::Result, kernels::attention::Heads};

/// The four matrices of a block; each is what pruning works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Queries, keys and values, one below the other.
    Qkv,
    O,
    /// Gate (if any) and input, one below the other.
    MlpIn,
    MlpOut,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::MlpIn, Self::MlpOut];
}

/// Norms and matrices of a block. Cloning shares the tensors.
#[derive(Clone, Debug)]
pub struct Block {
    pub ln1: Norm,
    pub ln2: Norm,
    pub qkv: Linear,
    pub o: Linear,
    pub mlp_in: Linear,
    pub mlp_out: Linear,
}

/// What a block needs to know beside its weights.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    pub config: &'a Config,
    pub rotary: Option<&'a (Tensor, Tensor)>,
    pub layer: usize,
    pub batch: usize,
    pub time: usize,
}

/// The inputs of a block's matrices, for pruning.
pub type Watch<'a> = &'a mut dyn FnMut(Part, &Tensor) -> Result<()>;

impl Block {
    pub fn norms(&self) -> [&Norm; 2] {
        [&self.ln1, &self.ln2]
    }

    pub fn linear(&self, part: Part) -> &Linear {
        match part {
            Part::Qkv => &self.qkv,
            Part::O => &self.o,
            Part::MlpIn => &self.mlp_in,
            Part::MlpOut => &self.mlp_out,
        }
    }

    pub fn linear_mut(&mut self, part: Part) -> &mut Linear {
        match part {
            Part::Qkv => &mut self.qkv,
            Part::O => &mut self.o,
            Part::MlpIn => &mut self.mlp_in,
            Part::MlpOut => &mut self.mlp_out,
        }
    }

    /// `hook_z` of a residual stream `[batch * time, d_model]`.
    pub fn z(&self, resid_pre: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let x = self.ln1.forward(resid_pre)?;
        watch(Part::Qkv, &x)?;
        let qkv = self.qkv.forward(&x)?;
        ops::attention(qkv, shape.batch, shape.time, heads(shape.config, shape.layer), shape.rotary)
    }

    /// `hook_mlp_out` of a residual stream.
    pub fn mlp(&self, resid_mid: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let x = self.ln2.forward(resid_mid)?;
        watch(Part::MlpIn, &x)?;
        let x = ops::activate(self.mlp_in.forward(&x)?, shape.config.act, shape.config.gated)?;
        watch(Part::MlpOut, &x)?;
        self.mlp_out.forward(&x)
    }

    /// The whole block.
    pub fn forward(&self, resid_pre: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let z = self.z(resid_pre, shape, watch)?;
        watch(Part::O, &z)?;
        let resid_mid = (resid_pre + self.o.forward(&z)?)?;
        Ok((&resid_mid + self.mlp(&resid_mid, shape, watch)?)?)
    }
}

pub fn heads(config: &Config, layer: usize) -> Heads {
    Heads {
        heads: config.n_heads,
        kv_heads: config.n_kv_heads,
        width: config.d_head,
        scale: config.attn_scale[layer] as f32,
    }
}
