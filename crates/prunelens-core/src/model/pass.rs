//! Passes through a model that stop at a hook, resume from it, and put another activation there.

use candle_core::{DType, Tensor};

use super::{Model, Tick, block::Shape, hooks::HookPoint, hooks::Site};
use crate::error::{Error, Result};

/// A pass stopped at a hook: the activation there, and what is needed to go on.
#[derive(Clone, Debug)]
pub struct Captured {
    pub hook: HookPoint,
    /// `[batch, time, d_in]`, f32.
    pub acts: Tensor,
    /// The residual stream that the hook's activation will be added to, for hooks beside it.
    base: Option<Tensor>,
}

impl Captured {
    /// An activation `[batch, time, d_model]` of the residual stream itself.
    pub fn of_stream(hook: HookPoint, acts: Tensor) -> Self {
        Self { hook, acts, base: None }
    }

    pub fn batch(&self) -> usize {
        self.acts.dims()[0]
    }

    pub fn time(&self) -> usize {
        self.acts.dims()[1]
    }
}

/// For passes that nobody watches.
fn unwatched(_: super::Part, _: &Tensor) -> Result<()> {
    Ok(())
}

impl Model {
    pub fn shape(&self, layer: usize, batch: usize, time: usize) -> Shape<'_> {
        let local = self.rotary_local.as_ref().filter(|_| self.config.windows[layer].is_some());
        Shape {
            config: &self.config,
            rotary: local.or(self.rotary.as_ref()),
            backend: self.backend.as_deref(),
            layer,
            batch,
            time,
        }
    }

    /// Residual stream before block 0, `[batch * time, d_model]`.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, time) = tokens.dims2()?;
        if time > self.config.n_ctx {
            return Err(Error::invalid(format!(
                "{time} tokens are more than the {} that {} can read; shorten the text",
                self.config.n_ctx, self.name
            )));
        }
        let x = self.embed.index_select(&tokens.flatten_all()?, 0)?;
        let x = if self.config.embed_scale == 1.0 { x } else { (x * self.config.embed_scale)? };
        Ok(match &self.positions {
            Some(positions) => {
                let x = x.reshape((batch, time, ()))?.broadcast_add(&positions.narrow(0, 0, time)?)?;
                x.reshape((batch * time, ()))?
            }
            None => x,
        })
    }

    /// Run blocks `from..to` on a residual stream `[batch * time, d_model]`.
    pub fn run(&self, mut resid: Tensor, blocks: std::ops::Range<usize>, batch: usize, tick: Tick) -> Result<Tensor> {
        let time = resid.dim(0)? / batch;
        for layer in blocks {
            tick()?;
            resid = self.blocks[layer].forward(&resid, self.shape(layer, batch, time), &mut unwatched)?;
        }
        Ok(resid)
    }

    /// Read the activation at a hook for token rows `[batch, time]` (u32); nothing after it is computed.
    pub fn capture(&self, tokens: &Tensor, hook: HookPoint, tick: Tick) -> Result<Captured> {
        self.check_hook(hook)?;
        let (batch, time) = tokens.dims2()?;
        let resid = self.run(self.embed(tokens)?, 0..hook.layer, batch, tick)?;
        let (acts, base) = self.at_hook(resid, hook, batch, time, tick)?;
        let acts = acts.to_dtype(DType::F32)?.reshape((batch, time, ()))?;
        Ok(Captured { hook, acts, base })
    }

    fn at_hook(
        &self,
        resid_pre: Tensor,
        hook: HookPoint,
        batch: usize,
        time: usize,
        tick: Tick,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (block, shape) = (&self.blocks[hook.layer], self.shape(hook.layer, batch, time));
        if hook.site == Site::ResidPre {
            return Ok((resid_pre, None));
        }
        tick()?;
        let z = block.z(&resid_pre, shape, &mut unwatched)?;
        if hook.site == Site::Z {
            return Ok((z, Some(resid_pre)));
        }
        let attn_out = block.attn_out(&z, shape)?;
        if hook.site == Site::AttnOut {
            return Ok((attn_out, Some(resid_pre)));
        }
        if self.config.parallel && hook.site == Site::MlpOut {
            let mlp_out = block.mlp(&resid_pre, shape, &mut unwatched)?;
            return Ok((mlp_out, Some((resid_pre + attn_out)?)));
        }
        if hook.site == Site::ResidPost {
            return Ok((block.after_attention(&resid_pre, &attn_out, shape, &mut unwatched)?, None));
        }
        let resid_mid = (resid_pre + attn_out)?;
        if hook.site == Site::ResidMid {
            return Ok((resid_mid, None));
        }
        Ok((block.mlp(&resid_mid, shape, &mut unwatched)?, Some(resid_mid)))
    }

    /// Go on from a hook with the activation found there: the residual stream after the last block, `[batch, time, d_model]`.
    pub fn finish(&self, captured: &Captured, tick: Tick) -> Result<Tensor> {
        self.resume(captured, &captured.acts, tick)
    }

    /// Go on from a hook with another activation, shaped like the one found there.
    pub fn resume(&self, captured: &Captured, replacement: &Tensor, tick: Tick) -> Result<Tensor> {
        let HookPoint { layer, site } = captured.hook;
        let (batch, time) = (captured.batch(), captured.time());
        let (block, shape) = (&self.blocks[layer], self.shape(layer, batch, time));
        let x = replacement.reshape((batch * time, ()))?.to_dtype(self.dtype)?;
        let base = || {
            let missing = || Error::invalid(format!("no residual stream was kept at {}", captured.hook));
            captured.base.as_ref().ok_or_else(missing)
        };
        tick()?;
        let resid_post = match site {
            Site::ResidPre => block.forward(&x, shape, &mut unwatched)?,
            Site::Z => block.after_attention(base()?, &block.attn_out(&x, shape)?, shape, &mut unwatched)?,
            Site::AttnOut => block.after_attention(base()?, &x, shape, &mut unwatched)?,
            Site::ResidMid => (&x + block.mlp(&x, shape, &mut unwatched)?)?,
            Site::MlpOut => (base()? + &x)?,
            Site::ResidPost => x,
        };
        let last = self.run(resid_post, layer + 1..self.config.n_layers, batch, tick)?;
        Ok(last.reshape((batch, time, ()))?)
    }

    /// Final norm, output matrix and soft cap: logits f32 with the leading dimensions of `last`.
    pub fn logits(&self, last: &Tensor) -> Result<Tensor> {
        let mut shape = last.dims().to_vec();
        let width = shape.pop().unwrap_or(0);
        shape.push(self.config.d_vocab);
        let x = self.ln_final.forward(&last.reshape(((), width))?, self.backend.as_deref())?;
        let logits = self.unembed.forward(&x)?.to_dtype(DType::F32)?;
        Ok(super::ops::softcap(logits, self.config.logit_softcap)?.reshape(shape)?)
    }
}
