//! One transformer block, for every pass: how attention joins tokens and what is kept on the way, a [`Pass`] says.

use candle_core::Tensor;
use prunelens_kernels::{attention::Heads, ops::Ops};

use super::{
    config::Config,
    hooks::Site,
    layers::{Linear, Norm, Rotary},
};
use crate::error::Result;

/// The four matrices of a block; each is what pruning works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Queries, keys and values, one below the other.
    Qkv,
    /// The output matrix of attention.
    O,
    /// Gate (if any) and input, one below the other.
    MlpIn,
    /// The output matrix of the MLP.
    MlpOut,
}

impl Part {
    /// In the order in which a pass meets them.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::MlpIn, Self::MlpOut];
}

/// Norms and matrices of a block. Cloning shares the tensors.
#[derive(Clone, Debug)]
pub struct Block {
    /// Before attention.
    pub ln1: Norm,
    /// Before the MLP.
    pub ln2: Norm,
    /// Of the outputs of attention and MLP (Gemma).
    pub ln1_post: Option<Norm>,
    /// Of the outputs of the MLP (Gemma).
    pub ln2_post: Option<Norm>,
    /// Of each head's queries and keys (Gemma 3, Qwen3).
    pub qk_norms: Option<[Norm; 2]>,
    /// Queries, keys and values, one below the other.
    pub qkv: Linear,
    /// From `hook_z` to `hook_attn_out`.
    pub o: Linear,
    /// Gate (if any) and input, one below the other.
    pub mlp_in: Linear,
    /// From the activation function to `hook_mlp_out`.
    pub mlp_out: Linear,
}

impl Block {
    /// All that there are.
    pub fn norms(&self) -> impl Iterator<Item = &Norm> {
        let posts = self.ln1_post.iter().chain(&self.ln2_post);
        [&self.ln1, &self.ln2].into_iter().chain(posts).chain(self.qk_norms.iter().flatten())
    }

    /// The matrix of a part.
    pub fn linear(&self, part: Part) -> &Linear {
        match part {
            Part::Qkv => &self.qkv,
            Part::O => &self.o,
            Part::MlpIn => &self.mlp_in,
            Part::MlpOut => &self.mlp_out,
        }
    }

    /// The matrix of a part, to be changed.
    pub fn linear_mut(&mut self, part: Part) -> &mut Linear {
        match part {
            Part::Qkv => &mut self.qkv,
            Part::O => &mut self.o,
            Part::MlpIn => &mut self.mlp_in,
            Part::MlpOut => &mut self.mlp_out,
        }
    }
}

/// What is met on the way through a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `hook_resid_pre`, as attention reads it.
    ResidPre,
    /// What one of the matrices multiplies.
    Input(Part),
    /// Attention's output before its norm, where it has one.
    AttnOutPre,
    /// The residual stream that the MLP reads: `hook_resid_mid`, or `hook_resid_pre` in parallel blocks.
    MlpRead,
    /// Before the activation function.
    MlpPre,
    /// The MLP's output before its norm, where it has one.
    MlpOutPre,
}

/// A pass over some tokens: which of them attention joins, and what is kept on the way.
pub trait Pass {
    /// `hook_z [tokens, heads * width]` of a layer's `qkv [tokens, (heads + 2 kv_heads) * width]`.
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor>;

    /// Called with each tensor that [`Step`] names, when it is there.
    fn meet(&mut self, _: Step, _: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Called before each block; an error ends the pass.
    fn tick(&mut self) -> Result<()>;
}

/// A residual stream before a block.
pub struct Resid {
    /// `hook_resid_pre`
    pub resid: Tensor,
    /// The same normed, as the block's attention reads it, where that came with the sum before it.
    normed: Option<Tensor>,
}

impl From<Tensor> for Resid {
    fn from(resid: Tensor) -> Self {
        Self { resid, normed: None }
    }
}

/// A block at work: its weights, and what it needs beside them.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Its weights.
    pub block: &'a Block,
    /// Its number, from 0.
    pub index: usize,
    /// Of the model that it is part of.
    pub config: &'a Config,
    /// Rotary positions of its queries and keys.
    pub rotary: Option<&'a Rotary>,
    /// What works on its tensors.
    pub ops: &'a dyn Ops,
}

impl Layer<'_> {
    /// Sizes of its attention.
    pub fn heads(&self) -> Heads {
        let config = self.config;
        Heads {
            heads: config.n_heads,
            kv_heads: config.n_kv_heads,
            width: config.d_head,
            scale: config.attn_scale[self.index] as f32,
            softcap: config.attn_softcap.map(|cap| cap as f32),
            window: config.windows[self.index],
        }
    }

    /// `hook_z` of a residual stream `[tokens, d_model]`.
    pub fn z(self, resid_pre: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        self.z_of(resid_pre, None, pass)
    }

    /// The same where the stream may be known normed.
    fn z_of(self, resid_pre: &Tensor, normed: Option<Tensor>, pass: &mut dyn Pass) -> Result<Tensor> {
        pass.meet(Step::ResidPre, resid_pre)?;
        let x = normed.map_or_else(|| self.block.ln1.forward(resid_pre, self.ops), Ok)?;
        pass.meet(Step::Input(Part::Qkv), &x)?;
        pass.attend(self, self.block.qkv.forward(&x)?)
    }

    /// `hook_attn_out` of `hook_z`.
    pub fn attn_out(self, z: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let out = self.attn_out_pre(z, pass)?;
        self.block.ln1_post.as_ref().map_or(Ok(out.clone()), |norm| norm.forward(&out, self.ops))
    }

    /// The same before its norm, where it has one.
    fn attn_out_pre(self, z: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        pass.meet(Step::Input(Part::O), z)?;
        let out = self.block.o.forward(z)?;
        if self.block.ln1_post.is_some() {
            pass.meet(Step::AttnOutPre, &out)?;
        }
        Ok(out)
    }

    /// `hook_mlp_out` of the residual stream that the MLP reads.
    pub fn mlp(self, read: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let out = self.mlp_out_pre(read, &self.block.ln2.forward(read, self.ops)?, pass)?;
        self.block.ln2_post.as_ref().map_or(Ok(out.clone()), |norm| norm.forward(&out, self.ops))
    }

    /// What the MLP's output matrix multiplies; `x` is what the MLP reads, normed.
    fn mlp_post(self, read: &Tensor, x: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        pass.meet(Step::MlpRead, read)?;
        pass.meet(Step::Input(Part::MlpIn), x)?;
        let pre = self.block.mlp_in.forward(x)?;
        pass.meet(Step::MlpPre, &pre)?;
        let post = self.ops.activate(pre, self.config.act, self.config.gated)?;
        pass.meet(Step::Input(Part::MlpOut), &post)?;
        Ok(post)
    }

    /// The MLP's output before its norm, where it has one.
    fn mlp_out_pre(self, read: &Tensor, x: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let out = self.block.mlp_out.forward(&self.mlp_post(read, x, pass)?)?;
        if self.block.ln2_post.is_some() {
            pass.meet(Step::MlpOutPre, &out)?;
        }
        Ok(out)
    }

    /// `hook_resid_post` of `hook_resid_pre`: the whole block.
    pub fn forward(self, resid_pre: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let z = self.z(resid_pre, pass)?;
        self.after_z(resid_pre, &z, pass)
    }

    /// The whole block as part of a run of several: `next` is the norm that reads its sum, and is taken with it.
    pub fn advance(self, stream: Resid, next: Option<&Norm>, pass: &mut dyn Pass) -> Result<Resid> {
        let Resid { resid, normed } = stream;
        let z = self.z_of(&resid, normed, pass)?;
        let out = self.attn_out_pre(&z, pass)?;
        let (resid, normed) = self.add_both(&resid, &out, self.block.ln1_post.as_ref(), next, pass)?;
        Ok(Resid { resid, normed })
    }

    /// `hook_resid_post` from `hook_z`.
    pub fn after_z(self, resid_pre: &Tensor, z: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let out = self.attn_out_pre(z, pass)?;
        Ok(self.add_both(resid_pre, &out, self.block.ln1_post.as_ref(), None, pass)?.0)
    }

    /// `hook_resid_post` from `hook_attn_out`.
    pub fn after_attention(self, resid_pre: &Tensor, attn_out: &Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        Ok(self.add_both(resid_pre, attn_out, None, None, pass)?.0)
    }

    /// What each of its matrices multiplies: all of the block but the last product.
    pub fn inputs(self, resid_pre: &Tensor, pass: &mut dyn Pass) -> Result<()> {
        let z = self.z(resid_pre, pass)?;
        let out = self.attn_out_pre(&z, pass)?;
        let (resid_mid, x) = self.read_by_mlp(resid_pre, &out, self.block.ln1_post.as_ref())?;
        let read = if self.config.parallel { resid_pre } else { &resid_mid };
        self.mlp_post(read, &x, pass).map(drop)
    }

    /// `hook_resid_post` from what attention adds once it is through its norm; and the same through the norm that reads it next.
    fn add_both(
        self,
        resid_pre: &Tensor,
        attn_out: &Tensor,
        attn_norm: Option<&Norm>,
        next: Option<&Norm>,
        pass: &mut dyn Pass,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (resid_mid, x) = self.read_by_mlp(resid_pre, attn_out, attn_norm)?;
        let read = if self.config.parallel { resid_pre } else { &resid_mid };
        let out = self.mlp_out_pre(read, &x, pass)?;
        let post = self.block.ln2_post.as_ref().map(Norm::view);
        self.ops.add_norm(&resid_mid, &out, post, next.map(Norm::view))
    }

    /// `hook_resid_mid`, and what the MLP reads, normed. No hook is met on the way, so that sums and norms are taken together.
    fn read_by_mlp(self, resid_pre: &Tensor, attn_out: &Tensor, attn_norm: Option<&Norm>) -> Result<(Tensor, Tensor)> {
        let (ops, ln2) = (self.ops, self.block.ln2.view());
        let next = (!self.config.parallel).then_some(ln2);
        let (resid_mid, x) = ops.add_norm(resid_pre, attn_out, attn_norm.map(Norm::view), next)?;
        let x = x.map_or_else(|| ops.norm(resid_pre, ln2), Ok)?;
        Ok((resid_mid, x))
    }

    /// The whole block with what each of its hooks has on the way, until `meet` says that nothing more is wanted.
    pub fn through(
        self,
        resid_pre: Tensor,
        pass: &mut dyn Pass,
        meet: &mut dyn FnMut(Site, &Tensor) -> Result<bool>,
    ) -> Result<Tensor> {
        if meet(Site::ResidPre, &resid_pre)? {
            return Ok(resid_pre);
        }
        let z = self.z(&resid_pre, pass)?;
        if meet(Site::Z, &z)? {
            return Ok(resid_pre);
        }
        let attn_out = self.attn_out(&z, pass)?;
        if meet(Site::AttnOut, &attn_out)? {
            return Ok(resid_pre);
        }
        let resid_mid = (&resid_pre + attn_out)?;
        if meet(Site::ResidMid, &resid_mid)? {
            return Ok(resid_mid);
        }
        let mlp_out = self.mlp(if self.config.parallel { &resid_pre } else { &resid_mid }, pass)?;
        if meet(Site::MlpOut, &mlp_out)? {
            return Ok(resid_mid);
        }
        let resid_post = (resid_mid + mlp_out)?;
        meet(Site::ResidPost, &resid_post)?;
        Ok(resid_post)
    }
}
