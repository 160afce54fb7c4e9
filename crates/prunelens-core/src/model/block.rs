//! One transformer block.

use candle_core::Tensor;
use prunelens_kernels::{attention::Heads, device::Backend};

use super::{
    config::Config,
    ops::{self, Linear, Norm, Positions, Rotary},
};
use crate::error::Result;

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
    /// Of the outputs of attention and MLP (Gemma).
    pub ln1_post: Option<Norm>,
    pub ln2_post: Option<Norm>,
    /// Of each head's queries and keys (Gemma 3, Qwen3).
    pub qk_norms: Option<[Norm; 2]>,
    pub qkv: Linear,
    pub o: Linear,
    pub mlp_in: Linear,
    pub mlp_out: Linear,
}

/// What a block needs to know beside its weights.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    pub config: &'a Config,
    pub rotary: Option<&'a Rotary>,
    pub backend: Option<&'a dyn Backend>,
    pub layer: usize,
    pub batch: usize,
    pub time: usize,
}

/// The inputs of a block's matrices, for pruning.
pub type Watch<'a> = &'a mut dyn FnMut(Part, &Tensor) -> Result<()>;

impl Block {
    pub fn norms(&self) -> impl Iterator<Item = &Norm> {
        let posts = self.ln1_post.iter().chain(&self.ln2_post);
        [&self.ln1, &self.ln2].into_iter().chain(posts).chain(self.qk_norms.iter().flatten())
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
        let x = self.ln1.forward(resid_pre, shape.backend)?;
        watch(Part::Qkv, &x)?;
        let qkv = self.qkv.forward(&x)?;
        let positions = Positions { norms: self.qk_norms.as_ref(), rotary: shape.rotary };
        ops::attention(qkv, (shape.batch, shape.time), heads(shape.config, shape.layer), positions, shape.backend)
    }

    /// `hook_attn_out` of `hook_z`.
    pub fn attn_out(&self, z: &Tensor, shape: Shape) -> Result<Tensor> {
        let out = self.o.forward(z)?;
        self.ln1_post.as_ref().map_or(Ok(out.clone()), |norm| norm.forward(&out, shape.backend))
    }

    /// `hook_mlp_out` of the residual stream that the MLP reads: `hook_resid_mid`, or `hook_resid_pre` in parallel blocks.
    pub fn mlp(&self, resid_mid: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let x = self.ln2.forward(resid_mid, shape.backend)?;
        watch(Part::MlpIn, &x)?;
        let x = ops::activate(self.mlp_in.forward(&x)?, shape.config.act, shape.config.gated, shape.backend)?;
        watch(Part::MlpOut, &x)?;
        let out = self.mlp_out.forward(&x)?;
        self.ln2_post.as_ref().map_or(Ok(out.clone()), |norm| norm.forward(&out, shape.backend))
    }

    /// The whole block.
    pub fn forward(&self, resid_pre: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let z = self.z(resid_pre, shape, watch)?;
        watch(Part::O, &z)?;
        self.after_attention(resid_pre, &self.attn_out(&z, shape)?, shape, watch)
    }

    /// The rest of the block, from the attention's output.
    pub fn after_attention(&self, resid_pre: &Tensor, attn_out: &Tensor, shape: Shape, watch: Watch) -> Result<Tensor> {
        let resid_mid = (resid_pre + attn_out)?;
        let read = if shape.config.parallel { resid_pre } else { &resid_mid };
        Ok((&resid_mid + self.mlp(read, shape, watch)?)?)
    }
}

pub fn heads(config: &Config, layer: usize) -> Heads {
    Heads {
        heads: config.n_heads,
        kv_heads: config.n_kv_heads,
        width: config.d_head,
        scale: config.attn_scale[layer] as f32,
        softcap: config.attn_softcap.map(|cap| cap as f32),
        window: config.windows[layer],
    }
}
