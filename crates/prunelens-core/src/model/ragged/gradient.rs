//! Gradients from logits back to a hook: vector-Jacobian products of every operation behind it. Weights are constants.

use candle_core::{D, Tensor};
use prunelens_kernels::{
    gradient::{self, Curve},
    kv_cache::attend_vjp,
    matmul::{View, multiply},
    with_f32,
};

use super::{
    Stopped,
    block::{AttentionTrace, MlpTrace, Place, spans, turn},
    pass::{Keep, Rest, ends},
};
use crate::{
    error::{Error, Result},
    model::{Act, Block, Linear, Model, Norm, NormKind, Site, Tick, ops::values},
};

/// What the blocks of a pass left, in order. The first may lack what comes before the hook.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    attention: Vec<AttentionTrace>,
    /// One for each block whose attention output was computed.
    attn_out: Vec<Option<Tensor>>,
    mlp: Vec<MlpTrace>,
}

impl Keep<'_> {
    pub fn attention(&mut self, trace: AttentionTrace) {
        if let Self::Trace(blocks) = self {
            blocks.attention.push(trace);
        }
    }

    pub fn attn_out(&mut self, before_norm: Option<Tensor>) {
        if let Self::Trace(blocks) = self {
            blocks.attn_out.push(before_norm);
        }
    }

    pub fn mlp(&mut self, trace: MlpTrace) {
        if let Self::Trace(blocks) = self {
            blocks.mlp.push(trace);
        }
    }
}

/// A pass from a hook to the logits after each text's last token, ready to be gone back.
pub struct Trace<'a> {
    model: &'a Model,
    stopped: &'a Stopped,
    blocks: Blocks,
    /// `[tokens, d_model]`, after the last block.
    pub(super) last: Tensor,
    /// `[texts, d_vocab]`.
    pub logits: Tensor,
}

impl Model {
    /// Go on from a hook with another activation and keep what the gradient needs. No text may have been read before
    /// [`read_to`](Self::read_to) but for its prefix.
    pub fn trace<'a>(&'a self, stopped: &'a Stopped, replacement: &Tensor, tick: Tick) -> Result<Trace<'a>> {
        if stopped.texts.iter().any(|text| text.len > 0) {
            return Err(Error::invalid("a gradient goes back through the first tokens after the prefix only"));
        }
        let mut blocks = Blocks::default();
        let Stopped { hook, new, positions, base, .. } = stopped;
        let from = Rest { hook: *hook, new, positions, base: base.as_ref() };
        // Texts are not changed by a pass that keeps a trace; what they share is not copied.
        let mut texts = stopped.texts.clone();
        let last = self.rest(from, &mut texts, replacement, &mut Keep::Trace(&mut blocks), tick)?;
        tick()?;
        let logits = self.last_logits(&last, new)?;
        Ok(Trace { model: self, stopped, blocks, last, logits })
    }

    /// Logits after the last token of each text, `[texts, d_vocab]`, from the residual stream after the last block.
    pub fn last_logits(&self, last: &Tensor, new: &[usize]) -> Result<Tensor> {
        self.logits(&at_ends(last, new)?)
    }
}

/// Rows of the last token of each text.
fn at_ends(x: &Tensor, new: &[usize]) -> Result<Tensor> {
    let at: Vec<u32> = ends(new).iter().map(|end| *end as u32 - 1).collect();
    Ok(x.index_select(&Tensor::new(at, x.device())?, 0)?)
}

impl Trace<'_> {
    /// The gradient by the activation at the hook, `[tokens, d_in]`, from the one by [`logits`](Self::logits).
    pub fn vjp(mut self, by_logits: &Tensor, tick: Tick) -> Result<Tensor> {
        let (model, stopped) = (self.model, self.stopped);
        let mut g = self.by_last(by_logits)?;
        let hook = stopped.hook;
        for layer in (hook.layer + 1..model.config.n_layers).rev() {
            tick()?;
            g = self.block(g, layer)?;
        }
        tick()?;
        let block = &model.blocks[hook.layer];
        match hook.site {
            Site::ResidPost | Site::MlpOut => Ok(g),
            Site::ResidMid => self.resid_mid(g, block),
            // In a parallel block the MLP does not read what attention gives.
            Site::AttnOut if model.config.parallel => Ok(g),
            Site::AttnOut => self.resid_mid(g, block),
            Site::Z => {
                let g = if model.config.parallel { g } else { self.resid_mid(g, block)? };
                self.z(&g, block)
            }
            Site::ResidPre => self.block(g, hook.layer),
        }
    }

    /// Through output matrix, soft cap and final norm, to all tokens.
    fn by_last(&self, by_logits: &Tensor) -> Result<Tensor> {
        let (model, new) = (self.model, &self.stopped.new);
        let g = match model.config.logit_softcap {
            Some(cap) => (by_logits * (&self.logits / cap)?.sqr()?.affine(-1.0, 1.0)?)?,
            None => by_logits.clone(),
        };
        let g = model.unembed.vjp(&g)?;
        let g = model.ln_final.vjp(&at_ends(&self.last, new)?, &g)?;
        let width = model.config.d_model;
        let mut all = vec![0.0; self.last.elem_count()];
        with_f32(&g, |g| {
            for (end, row) in ends(new).iter().zip(g.chunks(width)) {
                all[(end - 1) * width..end * width].copy_from_slice(row);
            }
        })?;
        Ok(Tensor::from_vec(all, self.last.shape(), self.last.device())?)
    }

    /// From a whole block's output to its input.
    fn block(&mut self, g: Tensor, layer: usize) -> Result<Tensor> {
        let block = &self.model.blocks[layer];
        let parallel = self.model.config.parallel;
        // Through the MLP: to `hook_resid_mid`, or in a parallel block to its input beside the attention.
        let by_mlp = self.mlp(&g, block)?;
        let by_attention = if parallel { g.clone() } else { (&g + &by_mlp)? };
        let by_z = self.z(&by_attention, block)?;
        let by_input = self.attention(&by_z, block, layer)?;
        let g = (by_attention + by_input)?;
        Ok(if parallel { (g + by_mlp)? } else { g })
    }

    /// From `hook_resid_post` to `hook_resid_mid` of a block with one after the other.
    fn resid_mid(&mut self, g: Tensor, block: &Block) -> Result<Tensor> {
        let by_mlp = self.mlp(&g, block)?;
        Ok((g + by_mlp)?)
    }

    fn mlp(&mut self, g: &Tensor, block: &Block) -> Result<Tensor> {
        let MlpTrace { read, pre, out } = self.blocks.mlp.pop().ok_or_else(missing)?;
        let g = match (&block.ln2_post, out) {
            (Some(norm), Some(out)) => norm.vjp(&out, g)?,
            _ => g.clone(),
        };
        let config = &self.model.config;
        let g = activate_vjp(&pre, &block.mlp_out.vjp(&g)?, config.act, config.gated)?;
        block.ln2.vjp(&read, &block.mlp_in.vjp(&g)?)
    }

    /// From `hook_attn_out` to `hook_z`.
    fn z(&mut self, g: &Tensor, block: &Block) -> Result<Tensor> {
        match (&block.ln1_post, self.blocks.attn_out.pop().ok_or_else(missing)?) {
            (Some(norm), Some(out)) => block.o.vjp(&norm.vjp(&out, g)?),
            _ => block.o.vjp(g),
        }
    }

    /// From `hook_z` to the residual stream before the block, by way of attention.
    fn attention(&mut self, g: &Tensor, block: &Block, layer: usize) -> Result<Tensor> {
        let AttentionTrace { resid_pre, raw, q, own } = self.blocks.attention.pop().ok_or_else(missing)?;
        let Stopped { texts, new, positions, .. } = self.stopped;
        let place: Place = self.model.place(layer, texts, new, positions);
        let heads = place.heads();
        let mut rows = with_f32(&g.contiguous()?, |g| attend_vjp(&spans(place, &q, &own), heads, g))?;
        turn(&mut rows, place, true)?;
        if let (Some(raw), Some([q, k])) = (raw, &block.qk_norms) {
            let (q_weight, k_weight) = (values(&q.weight)?, values(&k.weight)?);
            let weights = [q_weight.as_deref().unwrap_or_default(), k_weight.as_deref().unwrap_or_default()];
            gradient::head_norms(&raw, &mut rows, heads, weights, q.eps as f32);
        }
        let g = Tensor::from_vec(rows, (positions.len(), heads.row()), g.device())?;
        block.ln1.vjp(&resid_pre, &block.qkv.vjp(&g)?)
    }
}

fn missing() -> Error {
    Error::invalid("a gradient was asked of a pass that did not keep what it needs")
}

impl Linear {
    /// `g W`: the gradient by the input from the one by the output.
    fn vjp(&self, g: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let g = g.contiguous()?;
        let n = g.elem_count() / outputs;
        let mut out = vec![0.0; n * inputs];
        with_f32(&g, |g| {
            with_f32(&self.weight, |w| {
                let (g, w) = (View::contiguous(g, n, outputs), View::contiguous(w, outputs, inputs));
                multiply(&mut out, inputs, g, w, 1.0, false, rayon::current_num_threads());
            })
        })??;
        Ok(Tensor::from_vec(out, (n, inputs), g.device())?)
    }
}

impl Norm {
    /// The gradient by the input `x` from the one by the output.
    fn vjp(&self, x: &Tensor, g: &Tensor) -> Result<Tensor> {
        let (x, width) = (x.contiguous()?, x.dim(D::Minus1)?);
        let weight = values(&self.weight)?;
        let mut g = with_f32(&g.contiguous()?, <[f32]>::to_vec)?;
        with_f32(&x, |x| match self.kind {
            NormKind::LayerNorm => gradient::layer_norm(x, &mut g, width, weight.as_deref(), self.eps as f32),
            NormKind::RmsNorm => gradient::rms_norm(x, &mut g, width, weight.as_deref(), self.eps as f32),
        })?;
        Ok(Tensor::from_vec(g, x.shape(), x.device())?)
    }
}

/// Of [`activate`](crate::model::ops::activate) at `x`.
fn activate_vjp(x: &Tensor, g: &Tensor, act: Act, gated: bool) -> Result<Tensor> {
    let curve: Curve = match act {
        Act::GeluTanh => gradient::gelu_tanh,
        Act::Gelu => gradient::gelu,
        Act::Silu => gradient::silu,
        Act::Relu => gradient::relu,
    };
    let (_, width) = x.dims2()?;
    let mut g = with_f32(&g.contiguous()?, <[f32]>::to_vec)?;
    let g = with_f32(&x.contiguous()?, |x| {
        if gated {
            return gradient::gated(x, &g, width / 2, curve);
        }
        gradient::plain(x, &mut g, curve);
        g
    })?;
    Ok(Tensor::from_vec(g, x.shape(), x.device())?)
}
