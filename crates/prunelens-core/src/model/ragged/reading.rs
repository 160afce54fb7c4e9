//! Attention over tokens of several texts, with the keys and values that each has already, and what its gradient needs.

use std::collections::HashMap;

use candle_core::Tensor;
use prunelens_kernels::{
    attention,
    kv_cache::{self, Span},
    with_f32,
};

use super::text::{Kv, Text};
use crate::{
    error::Result,
    model::{Layer, Pass, Step, Tick, layers::values},
};

/// The tokens that are read now.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    /// How many of them belong to each text.
    pub new: &'a [usize],
    /// Where each stands in its text.
    pub positions: &'a [usize],
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
        let rows = with_f32(&qkv, <[f32]>::to_vec)?;
        let (z, _) = attend(layer, rows, self.texts, &mut own, self.tokens)?;
        self.texts.iter_mut().zip(own).for_each(|(text, own)| text.own[layer.index] = own);
        Ok(Tensor::from_vec(z, (self.tokens.positions.len(), layer.heads().queries()), qkv.device())?)
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
    pub attention: Vec<AttentionTrace>,
    pub steps: HashMap<Step, Vec<Tensor>>,
}

/// What attention leaves for its gradient.
#[derive(Debug)]
pub(super) struct AttentionTrace {
    /// Rows of queries, keys and values before their norms, if they have norms.
    pub raw: Option<Vec<f32>>,
    /// `[tokens, heads * width]`, rotated.
    pub q: Vec<f32>,
    /// One a text.
    pub own: Vec<Kv>,
}

impl Pass for Tracing<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        let mut own = vec![Kv::default(); self.texts.len()];
        let rows = with_f32(&qkv, <[f32]>::to_vec)?;
        let raw = layer.block.qk_norms.as_ref().map(|_| rows.clone());
        let (z, q) = attend(layer, rows, self.texts, &mut own, self.tokens)?;
        self.kept.attention.push(AttentionTrace { raw, q, own });
        Ok(Tensor::from_vec(z, (self.tokens.positions.len(), layer.heads().queries()), qkv.device())?)
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

/// `hook_z` of rows of queries, keys and values, and the queries as they met the keys. `own` are keys and values that each
/// text has in this block already; new ones are appended.
fn attend(
    layer: Layer,
    mut rows: Vec<f32>,
    texts: &[Text],
    own: &mut [Kv],
    tokens: Tokens,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let heads = layer.heads();
    if let Some([q, k]) = &layer.block.qk_norms {
        let (q_weight, k_weight) = (values(&q.weight)?, values(&k.weight)?);
        let weights = [q_weight.as_deref().unwrap_or_default(), k_weight.as_deref().unwrap_or_default()];
        attention::normalise(&mut rows, heads, weights, q.eps as f32);
    }
    turn(&mut rows, layer, tokens.positions, false)?;
    let (queries, keys) = (heads.queries(), heads.kv_heads * heads.width);
    let mut q = Vec::with_capacity(tokens.positions.len() * queries);
    let mut read = rows.chunks(heads.row());
    for (own, &new) in own.iter_mut().zip(tokens.new) {
        for row in read.by_ref().take(new) {
            q.extend_from_slice(&row[..queries]);
            own.k.extend_from_slice(&row[queries..queries + keys]);
            own.v.extend_from_slice(&row[queries + keys..]);
        }
    }
    let z = kv_cache::attend(&spans(layer, texts, &q, own, tokens), heads);
    Ok((z, q))
}

/// One a text.
pub(super) fn spans<'a>(layer: Layer, texts: &'a [Text], q: &'a [f32], own: &'a [Kv], tokens: Tokens) -> Vec<Span<'a>> {
    let (queries, mut rest) = (layer.heads().queries(), q);
    let span = |((text, own), new): ((&'a Text, &'a Kv), &usize)| {
        let (q, after) = rest.split_at(new * queries);
        rest = after;
        Span { past: text.past(layer.index), own: own.seen(), q }
    };
    texts.iter().zip(own).zip(tokens.new).map(span).collect()
}

/// Rotate queries and keys to their positions, or back.
pub(super) fn turn(rows: &mut [f32], layer: Layer, positions: &[usize], back: bool) -> Result<()> {
    let Some(rotary) = layer.rotary else { return Ok(()) };
    let last = positions.iter().max().copied().unwrap_or_default();
    let tables = rotary.first(last + 1)?;
    let half = tables.cos.dim(1)?;
    with_f32(&tables.cos, |cos| {
        with_f32(&tables.sin, |sin| {
            kv_cache::rotate(rows, positions, layer.heads(), (cos, sin), half, back);
        })
    })?
}
