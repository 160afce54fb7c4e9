//! Passes over texts: to a hook, on from it, and through the whole model.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_kernels::ragged::Kv;

use super::{
    reading::{Reading, Tokens},
    text::{Prefix, Text},
};
use crate::{
    error::{Error, Result},
    model::{Captured, HookPoint, Model, Site},
    progress::Tick,
};

/// A pass over the next tokens of some texts, stopped at a hook.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Where it stopped.
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
    /// Rows that a [`readable`](super::readable) model read to a hook side by side: texts without a beginning in common. What
    /// they leave before the hook is not kept, so that a gradient can be taken and no text read on.
    pub fn at(model: &Model, captured: &Captured) -> Result<Self> {
        let (batch, time) = (captured.batch(), captured.time());
        Ok(Self {
            hook: captured.hook,
            texts: vec![Text::default(); batch],
            new: vec![time; batch],
            positions: (0..batch).flat_map(|_| 0..time).collect(),
            // Captured in f32 for the SAE, whatever the model's type.
            acts: captured.acts.flatten_to(1)?.to_dtype(model.dtype)?.contiguous()?,
            base: captured.base.clone(),
        })
    }

    /// Where the tokens of each text end among those of all.
    pub fn ends(&self) -> Vec<usize> {
        ends(&self.new)
    }

    /// Tokens of each text.
    pub fn lengths(&self) -> &[usize] {
        &self.new
    }

    pub(super) fn tokens(&self) -> Tokens<'_> {
        Tokens { new: &self.new, positions: &self.positions }
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

impl Model {
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
        let resid = self.embed_at(&new.concat(), &positions)?;
        let tokens = Tokens { new: &lengths, positions: &positions };
        let (acts, base) = self.to_hook(resid, hook, &mut Reading { texts: &mut texts, tokens, tick })?;
        Ok(Stopped { hook, texts, new: lengths, positions, acts, base })
    }

    /// Go on from a hook with another activation, shaped like the one found there, to the end; as [`read`](Self::read).
    pub fn read_on(&self, stopped: Stopped, replacement: &Tensor, tick: Tick) -> Result<(Vec<Text>, Tensor)> {
        let Stopped { hook, mut texts, new, positions, base, acts } = stopped;
        let replacement = replacement.to_dtype(acts.dtype())?.contiguous()?;
        let tokens = Tokens { new: &new, positions: &positions };
        let mut reading = Reading { texts: &mut texts, tokens, tick };
        let last = self.after_hook(hook, base.as_ref(), replacement, &mut reading)?;
        texts.iter_mut().zip(&new).for_each(|(text, new)| text.len += new);
        Ok((texts, last))
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
        let x = self.embeddings(&Tensor::new(ids, &self.device)?)?;
        Ok(match &self.positions {
            Some(table) => {
                let at: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
                (x + table.index_select(&Tensor::new(at, &self.device)?, 0)?)?
            }
            None => x,
        })
    }
}
