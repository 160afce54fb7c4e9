//! Attention over tokens of several texts, with the keys and values that each has already, and what its gradient needs.

use std::collections::HashMap;

use candle_core::Tensor;
use prunelens_kernels::{
    ops::Traced,
    ragged::{self, Kv},
};

use super::text::Text;
use crate::{
    error::Result,
    model::{Layer, Pass, Step},
    progress::Tick,
};

/// The tokens that are read now.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    /// How many of them belong to each text.
    pub new: &'a [usize],
    /// Where each stands in its text.
    pub positions: &'a [usize],
}

impl Tokens<'_> {
    /// In one attention layer, whose operations they are given to.
    pub fn at<R>(self, layer: Layer, texts: &[Text], give: impl FnOnce(&ragged::Tokens) -> Result<R>) -> Result<R> {
        let last = self.positions.iter().max().copied().unwrap_or_default();
        let tables = layer.rotary.map(|rotary| rotary.first(last + 1)).transpose()?;
        let past: Vec<Option<&Kv>> = texts.iter().map(|text| text.past(layer.index)).collect();
        give(&ragged::Tokens {
            heads: layer.heads(),
            norms: layer.block.qk_norms.as_ref().map(|[q, k]| [q.view(), k.view()]),
            tables: tables.as_ref().map(|tables| (&tables.cos, &tables.sin)),
            new: self.new,
            positions: self.positions,
            past: &past,
        })
    }
}

/// A pass over the next tokens of texts, which keep their keys and values for reading on.
pub(super) struct Reading<'a> {
    pub texts: &'a mut [Text],
    pub tokens: Tokens<'a>,
    pub tick: Tick<'a>,
}

impl Pass for Reading<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        let mut own: Vec<Kv> = self.texts.iter_mut().map(|text| std::mem::take(&mut text.own[layer.index])).collect();
        let z = self.tokens.at(layer, self.texts, |tokens| layer.ops.attend_ragged(tokens, &qkv, &mut own))?;
        self.texts.iter_mut().zip(own).for_each(|(text, own)| text.own[layer.index] = own);
        Ok(z)
    }

    fn tick(&mut self) -> Result<()> {
        (self.tick)()
    }
}

/// A pass over the first tokens of texts after what they share, which keeps what its gradient needs.
pub(super) struct Tracing<'a> {
    pub texts: &'a [Text],
    pub tokens: Tokens<'a>,
    pub kept: Kept,
    pub tick: Tick<'a>,
}

/// What blocks left, in order. The first may lack what comes before the hook.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub attention: Vec<Traced>,
    pub steps: HashMap<Step, Vec<Tensor>>,
}

impl Pass for Tracing<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        let (z, traced) = self.tokens.at(layer, self.texts, |tokens| layer.ops.trace_ragged(tokens, &qkv))?;
        self.kept.attention.push(traced);
        Ok(z)
    }

    fn meet(&mut self, step: Step, x: &Tensor) -> Result<()> {
        // The gradient by what a matrix multiplies needs the matrix alone.
        if !matches!(step, Step::Input(_)) {
            self.kept.steps.entry(step).or_default().push(x.clone());
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        (self.tick)()
    }
}
