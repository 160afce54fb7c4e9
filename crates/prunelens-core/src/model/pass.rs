//! Passes through a model that stop at a hook, resume from it, and put another activation there.

use std::ops::Range;

use candle_core::{DType, Tensor};
use prunelens_kernels::ops::softcap;

use super::{
    Model, Norm,
    block::{Layer, Pass, Resid},
    hooks::{HookPoint, Site},
};
use crate::error::{Error, Result};
use crate::progress::Tick;

/// A pass stopped at a hook: the activation there, and what is needed to go on.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Where it stopped.
    pub hook: HookPoint,
    /// `[batch, time, d_in]`, f32.
    pub acts: Tensor,
    /// The residual stream that the hook's activation will be added to, for hooks beside it.
    pub(super) base: Option<Tensor>,
}

impl Captured {
    /// An activation `[batch, time, d_model]` of the residual stream itself.
    pub fn of_stream(hook: HookPoint, acts: Tensor) -> Self {
        Self { hook, acts, base: None }
    }

    /// One of the rows, as if it had been read alone.
    pub fn row(&self, at: usize) -> Result<Self> {
        let time = self.time();
        let base = self.base.as_ref().map(|base| base.narrow(0, at * time, time)).transpose()?;
        Ok(Self { hook: self.hook, acts: self.acts.narrow(0, at, 1)?, base })
    }

    /// Rows of tokens.
    pub fn batch(&self) -> usize {
        self.acts.dims()[0]
    }

    /// Tokens in each row.
    pub fn time(&self) -> usize {
        self.acts.dims()[1]
    }
}

/// Rows of equal length, side by side.
pub struct Rows<'t> {
    /// Rows of tokens.
    pub batch: usize,
    /// Tokens in each row.
    pub time: usize,
    /// Called before each block.
    pub tick: Tick<'t>,
}

impl Pass for Rows<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        let tables = layer.rotary.map(|rotary| rotary.first(self.time)).transpose()?;
        let tables = tables.as_ref().map(|tables| (&tables.cos, &tables.sin));
        let norms = layer.block.qk_norms.as_ref().map(|norms| norms.each_ref().map(Norm::view));
        layer.ops.attention(qkv, (self.batch, self.time), layer.heads(), norms, tables)
    }

    fn tick(&mut self) -> Result<()> {
        (self.tick)()
    }
}

/// What every kind of pass is made of.
impl Model {
    /// A block with what it needs to work.
    pub fn layer(&self, index: usize) -> Layer<'_> {
        let local = self.rotary_local.as_ref().filter(|_| self.config.windows[index].is_some());
        let rotary = local.or(self.rotary.as_ref());
        Layer { block: &self.blocks[index], index, config: &self.config, rotary, ops: &*self.ops }
    }

    /// Embeddings of token ids (u32), without positions.
    pub(super) fn embeddings(&self, ids: &Tensor) -> Result<Tensor> {
        let x = self.embed.index_select(ids, 0)?;
        Ok(if self.config.embed_scale == 1.0 { x } else { (x * self.config.embed_scale)? })
    }

    /// Run some blocks on a residual stream `[tokens, d_model]`.
    pub fn run(&self, resid: Tensor, blocks: Range<usize>, pass: &mut dyn Pass) -> Result<Tensor> {
        let mut stream = Resid::from(resid);
        for index in blocks.clone() {
            pass.tick()?;
            let next = self.blocks.get(index + 1).filter(|_| index + 1 < blocks.end);
            stream = self.layer(index).advance(stream, next.map(|block| &block.ln1), pass)?;
        }
        Ok(stream.resid)
    }

    /// From the residual stream before block 0 to a hook: the activation there, and for hooks beside the residual stream
    /// what it will be added to.
    pub(super) fn to_hook(
        &self,
        resid: Tensor,
        hook: HookPoint,
        pass: &mut dyn Pass,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.to_hook_from(0, resid, hook, pass)
    }

    /// The same from the residual stream before another block.
    fn to_hook_from(
        &self,
        block: usize,
        resid: Tensor,
        hook: HookPoint,
        pass: &mut dyn Pass,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let resid_pre = self.run(resid, block..hook.layer, pass)?;
        let layer = self.layer(hook.layer);
        if hook.site == Site::ResidPre {
            return Ok((resid_pre, None));
        }
        pass.tick()?;
        let z = layer.z(&resid_pre, pass)?;
        if hook.site == Site::Z {
            return Ok((z, Some(resid_pre)));
        }
        let attn_out = layer.attn_out(&z, pass)?;
        match hook.site {
            Site::AttnOut => Ok((attn_out, Some(resid_pre))),
            Site::ResidPost => Ok((layer.after_attention(&resid_pre, &attn_out, pass)?, None)),
            Site::ResidMid => Ok(((resid_pre + attn_out)?, None)),
            _ => {
                let resid_mid = (&resid_pre + attn_out)?;
                let read = if self.config.parallel { &resid_pre } else { &resid_mid };
                Ok((layer.mlp(read, pass)?, Some(resid_mid)))
            }
        }
    }

    /// From a hook, with the activation `x` there and what [`to_hook`](Self::to_hook) kept, to after the last block.
    pub(super) fn after_hook(
        &self,
        hook: HookPoint,
        base: Option<&Tensor>,
        x: Tensor,
        pass: &mut dyn Pass,
    ) -> Result<Tensor> {
        let resid_post = self.after_block(hook, base, x, pass)?;
        self.run(resid_post, hook.layer + 1..self.config.n_layers, pass)
    }

    /// From a hook to the end of its block.
    fn after_block(&self, hook: HookPoint, base: Option<&Tensor>, x: Tensor, pass: &mut dyn Pass) -> Result<Tensor> {
        let layer = self.layer(hook.layer);
        let base = || base.ok_or_else(|| Error::invalid(format!("no residual stream was kept at {hook}")));
        pass.tick()?;
        Ok(match hook.site {
            Site::ResidPre => layer.forward(&x, pass)?,
            Site::Z => layer.after_z(base()?, &x, pass)?,
            Site::AttnOut => layer.after_attention(base()?, &x, pass)?,
            Site::ResidMid => (&x + layer.mlp(&x, pass)?)?,
            Site::MlpOut => (base()? + &x)?,
            Site::ResidPost => x,
        })
    }
}

/// Passes over rows of equal length.
impl Model {
    /// Residual stream before block 0, `[batch * time, d_model]`.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, time) = tokens.dims2()?;
        if time > self.config.n_ctx {
            return Err(Error::invalid(format!(
                "{time} tokens are more than the {} that {} can read; shorten the text",
                self.config.n_ctx, self.name
            )));
        }
        let x = self.embeddings(&tokens.flatten_all()?)?;
        Ok(match &self.positions {
            Some(positions) => {
                let x = x.reshape((batch, time, ()))?.broadcast_add(&positions.narrow(0, 0, time)?)?;
                x.reshape((batch * time, ()))?
            }
            None => x,
        })
    }

    /// Read the activation at a hook for token rows `[batch, time]` (u32); nothing after it is computed.
    pub fn capture(&self, tokens: &Tensor, hook: HookPoint, tick: Tick) -> Result<Captured> {
        self.check_hook(hook)?;
        let (batch, time) = tokens.dims2()?;
        let (acts, base) = self.to_hook(self.embed(tokens)?, hook, &mut Rows { batch, time, tick })?;
        let acts = acts.to_dtype(DType::F32)?.reshape((batch, time, ()))?;
        Ok(Captured { hook, acts, base })
    }

    /// Go on from a hook to one of a later block, as [`capture`](Self::capture) comes there.
    pub fn capture_on(&self, captured: &Captured, hook: HookPoint, tick: Tick) -> Result<Captured> {
        self.check_hook(hook)?;
        let next = captured.hook.layer + 1;
        if hook.layer < next {
            return Err(Error::invalid(format!("{hook} is not behind {}, where the pass stopped", captured.hook)));
        }
        let (batch, time) = (captured.batch(), captured.time());
        let pass = &mut Rows { batch, time, tick };
        let x = captured.acts.reshape((batch * time, ()))?.to_dtype(self.dtype)?;
        let resid = self.after_block(captured.hook, captured.base.as_ref(), x, pass)?;
        let (acts, base) = self.to_hook_from(next, resid, hook, pass)?;
        let acts = acts.to_dtype(DType::F32)?.reshape((batch, time, ()))?;
        Ok(Captured { hook, acts, base })
    }

    /// The activations at several hooks, `[batch, time, d_in]` each and the same as [`capture`](Self::capture) gives them, from
    /// one pass that ends at the last of them.
    pub fn capture_each(&self, tokens: &Tensor, hooks: &[HookPoint], tick: Tick) -> Result<Vec<Tensor>> {
        hooks.iter().try_for_each(|hook| self.check_hook(*hook))?;
        let (batch, time) = tokens.dims2()?;
        let Some(end) = hooks.iter().map(|hook| hook.layer).max() else { return Ok(Vec::new()) };
        let pass = &mut Rows { batch, time, tick };
        let mut resid = self.embed(tokens)?;
        let mut found: Vec<(usize, Tensor)> = Vec::with_capacity(hooks.len());
        for index in 0..=end {
            pass.tick()?;
            if hooks.iter().all(|hook| hook.layer != index) {
                resid = self.layer(index).forward(&resid, pass)?;
                continue;
            }
            let mut meet = |site, acts: &Tensor| -> Result<bool> {
                for (at, _) in hooks.iter().enumerate().filter(|(_, hook)| **hook == HookPoint { layer: index, site }) {
                    found.push((at, acts.to_dtype(DType::F32)?.reshape((batch, time, ()))?));
                }
                Ok(found.len() == hooks.len())
            };
            resid = self.layer(index).through(resid, pass, &mut meet)?;
        }
        found.sort_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, acts)| acts).collect())
    }

    /// Go on from a hook with the activation found there: the residual stream after the last block, `[batch, time, d_model]`.
    pub fn finish(&self, captured: &Captured, tick: Tick) -> Result<Tensor> {
        self.resume(captured, &captured.acts, tick)
    }

    /// Go on from a hook with another activation, shaped like the one found there.
    pub fn resume(&self, captured: &Captured, replacement: &Tensor, tick: Tick) -> Result<Tensor> {
        let (batch, time) = (captured.batch(), captured.time());
        let x = replacement.reshape((batch * time, ()))?.to_dtype(self.dtype)?;
        let last = self.after_hook(captured.hook, captured.base.as_ref(), x, &mut Rows { batch, time, tick })?;
        Ok(last.reshape((batch, time, ()))?)
    }

    /// Final norm, output matrix and soft cap: logits f32 with the leading dimensions of `last`.
    pub fn logits(&self, last: &Tensor) -> Result<Tensor> {
        let mut shape = last.dims().to_vec();
        let width = shape.pop().unwrap_or(0);
        shape.push(self.config.d_vocab);
        let logits = self.uncapped_logits(&last.reshape(((), width))?)?.to_dtype(DType::F32)?;
        Ok(softcap(logits, self.config.logit_softcap)?.reshape(shape)?)
    }

    /// Final norm and output matrix of `last [n, d_model]`, in the type that the model computes in.
    pub(crate) fn uncapped_logits(&self, last: &Tensor) -> Result<Tensor> {
        self.unembed.forward(&self.ln_final.forward(last, &*self.ops)?)
    }
}
