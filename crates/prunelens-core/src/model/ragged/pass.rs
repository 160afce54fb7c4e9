//! Passes over texts: to a hook, on from it, and through the whole model.

use std::sync::Arc;

use candle_core::Tensor;

use super::{
    block::{AttentionTrace, Place, attention, attn_out, mlp},
    text::{Kv, Prefix, Text},
};
use crate::{
    error::{Error, Result},
    model::{HookPoint, Model, Site, Tick},
};

/// A pass over the next tokens of some texts, stopped at a hook.
#[derive(Clone, Debug)]
pub struct Stopped {
    pub hook: HookPoint,
    pub(super) texts: Vec<Text>,
    pub(super) new: Vec<usize>,
    pub(super) positions: Vec<usize>,
    /// `[tokens, d_in]`, text after text.
    pub acts: Tensor,
    /// The residual stream that the hook's activation will be added to, for hooks beside it.
    pub(super) base: Option<Tensor>,
}

impl Stopped {
    /// Where the tokens of each text end among those of all.
    pub fn ends(&self) -> Vec<usize> {
        ends(&self.new)
    }

    /// Tokens of each text.
    pub fn lengths(&self) -> &[usize] {
        &self.new
    }
}

/// Running sums.
pub(super) fn ends(new: &[usize]) -> Vec<usize> {
    new.iter()
        .scan(0, |at, n| {
            *at += n;
            Some(*at)
        })
        .collect()
}

/// What is done with keys and values of a block.
pub(super) enum Keep<'a> {
    /// Kept in the texts, for reading on.
    InTexts,
    /// Kept for the gradient.
    Trace(&'a mut super::gradient::Blocks),
}

impl Model {
    pub(super) fn place<'a>(
        &'a self,
        layer: usize,
        texts: &'a [Text],
        new: &'a [usize],
        positions: &'a [usize],
    ) -> Place<'a> {
        let rotary = self.shape(layer, 1, 1).rotary;
        Place { config: &self.config, rotary, layer, texts, new, positions }
    }

    /// Read a beginning that texts will share.
    pub fn prefix(&self, ids: &[u32], tick: Tick) -> Result<Arc<Prefix>> {
        let (mut texts, _) = self.read(vec![Text::default()], &[ids], tick)?;
        let text = texts.pop().unwrap_or_default();
        Ok(Arc::new(Prefix { blocks: text.own, len: text.len }))
    }

    /// Read the next tokens of each text to the end: the texts, and the residual stream after the last block,
    /// `[tokens, d_model]`.
    pub fn read(&self, texts: Vec<Text>, new: &[&[u32]], tick: Tick) -> Result<(Vec<Text>, Tensor)> {
        let hook = HookPoint { layer: 0, site: Site::ResidPre };
        let stopped = self.read_to(texts, new, hook, tick)?;
        let acts = stopped.acts.clone();
        self.read_on(stopped, &acts, tick)
    }

    /// Read the next tokens of each text up to a hook.
    pub fn read_to(&self, mut texts: Vec<Text>, new: &[&[u32]], hook: HookPoint, tick: Tick) -> Result<Stopped> {
        self.check_hook(hook)?;
        if texts.len() != new.len() || new.iter().any(|ids| ids.is_empty()) {
            return Err(Error::invalid("every text needs at least one token to go on with"));
        }
        texts.iter_mut().for_each(|text| text.own.resize_with(self.config.n_layers, Kv::default));
        let positions: Vec<usize> =
            texts.iter().zip(new).flat_map(|(text, ids)| text.read()..text.read() + ids.len()).collect();
        let lengths: Vec<usize> = new.iter().map(|ids| ids.len()).collect();
        let mut resid = self.embed_at(&new.concat(), &positions)?;
        for layer in 0..hook.layer {
            resid = self.block(resid, layer, &mut texts, &lengths, &positions, &mut Keep::InTexts, tick)?;
        }
        tick()?;
        let block = &self.blocks[hook.layer];
        let (acts, base) = if hook.site == Site::ResidPre {
            (resid, None)
        } else {
            let (z, trace) = self.attend(resid, hook.layer, &mut texts, &lengths, &positions, &mut Keep::InTexts)?;
            let resid_pre = trace.resid_pre;
            match hook.site {
                Site::Z => (z, Some(resid_pre)),
                Site::AttnOut => (attn_out(block, &z)?.0, Some(resid_pre)),
                _ => {
                    let resid_mid = (&resid_pre + attn_out(block, &z)?.0)?;
                    if hook.site == Site::ResidMid {
                        (resid_mid, None)
                    } else {
                        let read = if self.config.parallel { resid_pre } else { resid_mid.clone() };
                        let out = mlp(block, read, &self.config)?.0;
                        if hook.site == Site::MlpOut { (out, Some(resid_mid)) } else { ((resid_mid + out)?, None) }
                    }
                }
            }
        };
        Ok(Stopped { hook, texts, new: lengths, positions, acts, base })
    }

    /// Go on from a hook with another activation, shaped like the one found there, to the end; as [`read`](Self::read).
    pub fn read_on(&self, stopped: Stopped, replacement: &Tensor, tick: Tick) -> Result<(Vec<Text>, Tensor)> {
        let Stopped { hook, mut texts, new, positions, base, .. } = stopped;
        let stopped = Rest { hook, new: &new, positions: &positions, base: base.as_ref() };
        let last = self.rest(stopped, &mut texts, replacement, &mut Keep::InTexts, tick)?;
        texts.iter_mut().zip(&new).for_each(|(text, new)| text.len += new);
        Ok((texts, last))
    }

    pub(super) fn rest(
        &self,
        from: Rest,
        texts: &mut [Text],
        replacement: &Tensor,
        keep: &mut Keep,
        tick: Tick,
    ) -> Result<Tensor> {
        let HookPoint { layer, site } = from.hook;
        let x = replacement.contiguous()?;
        let base = || from.base.ok_or_else(|| Error::invalid(format!("no residual stream was kept at {}", from.hook)));
        tick()?;
        let mut resid = match site {
            Site::ResidPre => self.block(x, layer, texts, from.new, from.positions, keep, tick)?,
            Site::Z => self.after_z(base()?, &x, layer, keep)?,
            Site::AttnOut => self.after_attention(base()?, &x, layer, keep)?,
            Site::ResidMid => {
                let (out, trace) = mlp(&self.blocks[layer], x.clone(), &self.config)?;
                keep.mlp(trace);
                (x + out)?
            }
            Site::MlpOut => (base()? + &x)?,
            Site::ResidPost => x,
        };
        for layer in layer + 1..self.config.n_layers {
            resid = self.block(resid, layer, texts, from.new, from.positions, keep, tick)?;
        }
        Ok(resid)
    }

    /// Residual stream before block 0 of tokens anywhere in their texts.
    fn embed_at(&self, ids: &[u32], positions: &[usize]) -> Result<Tensor> {
        let c = &self.config;
        if let Some(most) = positions.iter().max().filter(|p| **p >= c.n_ctx) {
            return Err(Error::invalid(format!(
                "a text of {} tokens is longer than the {} that {} can read",
                most + 1,
                c.n_ctx,
                self.name
            )));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= c.d_vocab) {
            return Err(Error::invalid(format!(
                "token id {id} does not exist in this model's vocabulary of {}; the tokens were made for another model",
                c.d_vocab
            )));
        }
        let x = self.embed.index_select(&Tensor::new(ids, &self.device)?, 0)?;
        let x = if c.embed_scale == 1.0 { x } else { (x * c.embed_scale)? };
        Ok(match &self.positions {
            Some(table) => {
                let at: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
                (x + table.index_select(&Tensor::new(at, &self.device)?, 0)?)?
            }
            None => x,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one place each")]
    fn block(
        &self,
        resid_pre: Tensor,
        layer: usize,
        texts: &mut [Text],
        new: &[usize],
        positions: &[usize],
        keep: &mut Keep,
        tick: Tick,
    ) -> Result<Tensor> {
        tick()?;
        let base = resid_pre.clone();
        let (z, trace) = self.attend(resid_pre, layer, texts, new, positions, keep)?;
        keep.attention(trace);
        self.after_z(&base, &z, layer, keep)
    }

    fn attend(
        &self,
        resid_pre: Tensor,
        layer: usize,
        texts: &mut [Text],
        new: &[usize],
        positions: &[usize],
        keep: &mut Keep,
    ) -> Result<(Tensor, AttentionTrace)> {
        let in_texts = matches!(keep, Keep::InTexts);
        let own = if in_texts {
            texts.iter_mut().map(|text| std::mem::take(&mut text.own[layer])).collect()
        } else {
            vec![Kv::default(); texts.len()]
        };
        let (z, mut trace) = attention(&self.blocks[layer], resid_pre, own, self.place(layer, texts, new, positions))?;
        if in_texts {
            texts.iter_mut().zip(std::mem::take(&mut trace.own)).for_each(|(text, own)| text.own[layer] = own);
        }
        Ok((z, trace))
    }

    fn after_z(&self, resid_pre: &Tensor, z: &Tensor, layer: usize, keep: &mut Keep) -> Result<Tensor> {
        let (out, before_norm) = attn_out(&self.blocks[layer], z)?;
        keep.attn_out(before_norm);
        self.after_attention(resid_pre, &out, layer, keep)
    }

    fn after_attention(&self, resid_pre: &Tensor, attn_out: &Tensor, layer: usize, keep: &mut Keep) -> Result<Tensor> {
        let resid_mid = (resid_pre + attn_out)?;
        let read = if self.config.parallel { resid_pre.clone() } else { resid_mid.clone() };
        let (out, trace) = mlp(&self.blocks[layer], read, &self.config)?;
        keep.mlp(trace);
        Ok((resid_mid + out)?)
    }
}

/// Where a pass goes on.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a> {
    pub hook: HookPoint,
    pub new: &'a [usize],
    pub positions: &'a [usize],
    pub base: Option<&'a Tensor>,
}
