//! Gradients from logits back to a hook: vector-Jacobian products of every operation behind it. Weights are constants.

use candle_core::{DType, Tensor};
use prunelens_kernels::{
    matmul::{View, multiply},
    on_cpu_f32,
    ops::Ops,
    widened, with_f32,
};

use super::{
    Stopped,
    pass::ends,
    reading::{Kept, Tracing},
};
use crate::{
    error::{Error, Result},
    model::{Block, Linear, Model, Norm, Site, Step},
    progress::Tick,
};

/// A pass from a hook to the logits after each text's last token, ready to be gone back.
pub struct Trace<'a> {
    pub(super) model: &'a Model,
    stopped: &'a Stopped,
    kept: Kept,
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
        let x = replacement.to_dtype(stopped.acts.dtype())?.contiguous()?;
        let mut tracing = Tracing { texts: &stopped.texts, tokens: stopped.tokens(), kept: Kept::default(), tick };
        let last = self.after_hook(stopped.hook, stopped.base.as_ref(), x, &mut tracing)?;
        let Tracing { kept, tick, .. } = tracing;
        tick()?;
        let logits = self.last_logits(&last, &stopped.new)?;
        Ok(Trace { model: self, stopped, kept, last, logits })
    }

    /// Logits after the last token of each text, `[texts, d_vocab]`, from the residual stream after the last block.
    pub fn last_logits(&self, last: &Tensor, new: &[usize]) -> Result<Tensor> {
        self.logits(&at_ends(last, new)?)
    }

    /// Through output matrix, soft cap and final norm: the gradient by rows `x` of the residual stream after the last block,
    /// from the one by the `logits` that they give.
    pub(super) fn logits_vjp(&self, x: &Tensor, logits: &Tensor, by_logits: &Tensor) -> Result<Tensor> {
        let g = match self.config.logit_softcap {
            Some(cap) => (by_logits * (logits / cap)?.sqr()?.affine(-1.0, 1.0)?)?,
            None => by_logits.clone(),
        };
        self.ln_final.vjp(x, &self.unembed.vjp(&g)?, &*self.ops)
    }
}

/// Rows of the last token of each text.
fn at_ends(x: &Tensor, new: &[usize]) -> Result<Tensor> {
    let at: Vec<u32> = ends(new).iter().map(|end| *end as u32 - 1).collect();
    Ok(x.index_select(&Tensor::new(at, x.device())?, 0)?)
}

impl Trace<'_> {
    /// The gradient by the activation at the hook, `[tokens, d_in]`, from the one by [`logits`](Self::logits).
    pub fn vjp(self, by_logits: &Tensor, tick: Tick) -> Result<Tensor> {
        let g = self.by_last(by_logits)?;
        self.back(g, tick)
    }

    /// The same from the gradient by the residual stream after the last block, `[tokens, d_model]`.
    pub(super) fn back(mut self, mut g: Tensor, tick: Tick) -> Result<Tensor> {
        let (model, stopped) = (self.model, self.stopped);
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

    /// From the logits after each text's last token to all tokens.
    fn by_last(&self, by_logits: &Tensor) -> Result<Tensor> {
        let (model, new) = (self.model, &self.stopped.new);
        let g = model.logits_vjp(&at_ends(&self.last, new)?, &self.logits, by_logits)?;
        at_rows(&g, ends(new).into_iter().map(|end| end as u32 - 1).collect(), self.last.dim(0)?)
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
        let ops = &*self.model.ops;
        let g = match &block.ln2_post {
            Some(norm) => norm.vjp(&self.kept(Step::MlpOutPre)?, g, ops)?,
            None => g.clone(),
        };
        let config = &self.model.config;
        let g = ops.activate_vjp(&self.kept(Step::MlpPre)?, &block.mlp_out.vjp(&g)?, config.act, config.gated)?;
        block.ln2.vjp(&self.kept(Step::MlpRead)?, &block.mlp_in.vjp(&g)?, ops)
    }

    /// From `hook_attn_out` to `hook_z`.
    fn z(&mut self, g: &Tensor, block: &Block) -> Result<Tensor> {
        match &block.ln1_post {
            Some(norm) => block.o.vjp(&norm.vjp(&self.kept(Step::AttnOutPre)?, g, &*self.model.ops)?),
            None => block.o.vjp(g),
        }
    }

    /// From `hook_z` to the residual stream before the block, by way of attention.
    fn attention(&mut self, g: &Tensor, block: &Block, layer: usize) -> Result<Tensor> {
        let traced = self.kept.attention.pop().ok_or_else(missing)?;
        let (stopped, layer) = (self.stopped, self.model.layer(layer));
        let g = stopped.tokens().at(layer, &stopped.texts, |tokens| layer.ops.ragged_vjp(tokens, &traced, g))?;
        block.ln1.vjp(&self.kept(Step::ResidPre)?, &block.qkv.vjp(&g)?, layer.ops)
    }

    /// What the last block that is not yet gone back through met at a step.
    fn kept(&mut self, step: Step) -> Result<Tensor> {
        self.kept.steps.get_mut(&step).and_then(Vec::pop).ok_or_else(missing)
    }
}

/// Numbers of a weight in 16 bits that are widened to f32 at a time.
const WIDENED: usize = 1 << 26;

fn missing() -> Error {
    Error::invalid("a gradient was asked of a pass that did not keep what it needs")
}

/// Rows `g` in their places among `n`, zeros elsewhere.
pub(super) fn at_rows(g: &Tensor, places: Vec<u32>, n: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros((n, g.dim(1)?), g.dtype(), g.device())?;
    Ok(zeros.index_add(&Tensor::from_vec(places, g.dim(0)?, g.device())?, g, 0)?)
}

impl Linear {
    /// `g W`: the gradient by the input from the one by the output, in f32.
    fn vjp(&self, g: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        if !on_cpu_f32(&self.weight) {
            // Some rows at a time: a whole vocabulary's in f32 would be as large as a model.
            let step = if self.weight.dtype() == DType::F32 { outputs } else { (WIDENED / inputs.max(1)).max(1) };
            let parts = (0..outputs).step_by(step.max(1)).map(|start| -> Result<Tensor> {
                let rows = step.min(outputs - start);
                let weight = widened(&self.weight.narrow(0, start, rows)?)?;
                Ok(g.narrow(1, start, rows)?.contiguous()?.matmul(&weight)?)
            });
            let sum = parts.reduce(|sum, part| Ok((sum? + part?)?));
            return sum.unwrap_or_else(|| Ok(Tensor::zeros((g.dim(0)?, inputs), DType::F32, g.device())?));
        }
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
    /// The gradient by the input `x` from the one by the output, in f32.
    fn vjp(&self, x: &Tensor, g: &Tensor, ops: &dyn Ops) -> Result<Tensor> {
        ops.norm_vjp(x, g, self.view())
    }
}
