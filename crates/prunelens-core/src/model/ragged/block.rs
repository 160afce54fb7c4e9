//! One block over tokens of several texts, keeping what its gradient needs.

use candle_core::Tensor;
use prunelens_kernels::{
    attention::{self, Heads},
    kv_cache::{self, Span},
    with_f32,
};

use super::text::{Kv, Text};
use crate::{
    error::Result,
    model::{
        Block, Config, Rotary,
        block::heads,
        ops::{activate, values},
    },
};

/// The tokens that are read now.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub config: &'a Config,
    pub rotary: Option<&'a Rotary>,
    pub layer: usize,
    pub texts: &'a [Text],
    /// How many of them belong to each text.
    pub new: &'a [usize],
    /// Where each stands in its text.
    pub positions: &'a [usize],
}

impl Place<'_> {
    pub fn heads(&self) -> Heads {
        heads(self.config, self.layer)
    }
}

/// What attention leaves for its gradient.
#[derive(Clone, Debug)]
pub(super) struct AttentionTrace {
    pub resid_pre: Tensor,
    /// Rows of queries, keys and values before their norms, if they have norms.
    pub raw: Option<Vec<f32>>,
    /// `[tokens, heads * width]`, rotated.
    pub q: Vec<f32>,
    /// One a text, with what was there before.
    pub own: Vec<Kv>,
}

/// What the MLP leaves.
#[derive(Clone, Debug)]
pub(super) struct MlpTrace {
    /// What it read.
    pub read: Tensor,
    /// Before the activation function.
    pub pre: Tensor,
    /// Before the output's norm, if there is one.
    pub out: Option<Tensor>,
}

/// `hook_z`. `own` are keys and values that each text has in this block already; new ones are appended.
pub(super) fn attention(
    block: &Block,
    resid_pre: Tensor,
    mut own: Vec<Kv>,
    place: Place,
) -> Result<(Tensor, AttentionTrace)> {
    let heads = place.heads();
    let qkv = block.qkv.forward(&block.ln1.forward(&resid_pre, None)?)?;
    let mut rows = with_f32(&qkv, <[f32]>::to_vec)?;
    let raw = block.qk_norms.as_ref().map(|_| rows.clone());
    if let Some([q, k]) = &block.qk_norms {
        let (q_weight, k_weight) = (values(&q.weight)?, values(&k.weight)?);
        let weights = [q_weight.as_deref().unwrap_or_default(), k_weight.as_deref().unwrap_or_default()];
        attention::normalise(&mut rows, heads, weights, q.eps as f32);
    }
    turn(&mut rows, place, false)?;
    let (queries, keys) = (heads.heads * heads.width, heads.kv_heads * heads.width);
    let mut q = Vec::with_capacity(place.positions.len() * queries);
    let mut tokens = rows.chunks(heads.row());
    for (own, &new) in own.iter_mut().zip(place.new) {
        for row in tokens.by_ref().take(new) {
            q.extend_from_slice(&row[..queries]);
            own.k.extend_from_slice(&row[queries..queries + keys]);
            own.v.extend_from_slice(&row[queries + keys..]);
        }
    }
    let z = kv_cache::attend(&spans(place, &q, &own), heads);
    let z = Tensor::from_vec(z, (place.positions.len(), queries), resid_pre.device())?;
    Ok((z, AttentionTrace { resid_pre, raw, q, own }))
}

/// One a text.
pub(super) fn spans<'a>(place: Place<'a>, q: &'a [f32], own: &'a [Kv]) -> Vec<Span<'a>> {
    let heads = place.heads();
    let mut rest = q;
    let span = |((text, own), new): ((&'a Text, &'a Kv), &usize)| {
        let (q, after) = rest.split_at(new * heads.heads * heads.width);
        rest = after;
        Span { past: text.past(place.layer), own: own.seen(), q }
    };
    place.texts.iter().zip(own).zip(place.new).map(span).collect()
}

/// Rotate queries and keys to their positions, or back.
pub(super) fn turn(rows: &mut [f32], place: Place, back: bool) -> Result<()> {
    let Some(rotary) = place.rotary else { return Ok(()) };
    let last = place.positions.iter().max().copied().unwrap_or_default();
    let tables = rotary.first(last + 1)?;
    let half = tables.cos.dim(1)?;
    with_f32(&tables.cos, |cos| {
        with_f32(&tables.sin, |sin| {
            kv_cache::rotate(rows, place.positions, place.heads(), (cos, sin), half, back);
        })
    })?
}

/// `hook_mlp_out` of what the MLP reads.
pub(super) fn mlp(block: &Block, read: Tensor, config: &Config) -> Result<(Tensor, MlpTrace)> {
    let pre = block.mlp_in.forward(&block.ln2.forward(&read, None)?)?;
    let out = block.mlp_out.forward(&activate(pre.clone(), config.act, config.gated, None)?)?;
    Ok(match &block.ln2_post {
        Some(norm) => (norm.forward(&out, None)?, MlpTrace { read, pre, out: Some(out) }),
        None => (out, MlpTrace { read, pre, out: None }),
    })
}

/// `hook_attn_out` of `hook_z`, with what its gradient needs: the output before its norm, if there is one.
pub(super) fn attn_out(block: &Block, z: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
    let out = block.o.forward(z)?;
    Ok(match &block.ln1_post {
        Some(norm) => (norm.forward(&out, None)?, Some(out)),
        None => (out, None),
    })
}
