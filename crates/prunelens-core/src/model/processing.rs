//! What TransformerLens' default weight processing does: to activations read from untouched weights, and to the weights.
//!
//! `HookedTransformer.from_pretrained` folds the norms' weights into the next matrix, centres what writes to the residual
//! stream (LayerNorm models only), centres the output matrix and moves the values' bias behind the attention. The model's
//! predictions stay the same (logits move by a constant); activations do not.

use candle_core::{D, Tensor};
use serde::Serialize;

use super::{HookPoint, Linear, Model, Norm, NormKind, Site};
use crate::error::Result;

/// Which activations an SAE reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// As the untouched weights give them.
    Raw,
    /// Residual stream, attention and MLP outputs without their mean over `d_model`.
    Centered,
    /// As TransformerLens' default processing gives them: centred, and `hook_z` without the values' bias.
    Tl,
}

impl Space {
    /// As files and screens spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Centered => "centered",
            Self::Tl => "tl",
        }
    }
}

/// What to subtract from a raw activation to get it in a space, and to add to come back.
#[derive(Clone, Debug)]
pub enum Offset {
    /// Nothing.
    None,
    /// `[1, d_in]`, the same for every token.
    Fixed(Tensor),
    /// The mean over the last dimension of each token.
    Mean,
}

impl Offset {
    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Model {
    /// How activations at a hook differ between this model's own and the given space.
    pub fn offset(&self, hook: HookPoint, space: Space) -> Result<Offset> {
        if space == Space::Raw || self.processed || self.config.norm != NormKind::LayerNorm {
            return Ok(Offset::None);
        }
        if hook.site != Site::Z {
            return Ok(Offset::Mean);
        }
        match (space, self.value_bias(hook.layer)?) {
            (Space::Tl, Some(v)) => Ok(Offset::Fixed(v.unsqueeze(0)?)),
            _ => Ok(Offset::None),
        }
    }

    /// `W_V ln1.bias + b_V`, spread over the query heads: what attention adds to `hook_z` whatever the tokens are.
    fn value_bias(&self, layer: usize) -> Result<Option<Tensor>> {
        let (block, c) = (&self.blocks[layer], &self.config);
        let (start, n) = ((c.n_heads + c.n_kv_heads) * c.d_head, c.n_kv_heads * c.d_head);
        let weight = block.qkv.weight.narrow(0, start, n)?.to_dtype(candle_core::DType::F32)?;
        let mut v = match &block.qkv.bias {
            Some(bias) => bias.narrow(0, start, n)?.to_dtype(candle_core::DType::F32)?,
            None => Tensor::zeros(n, candle_core::DType::F32, &self.device)?,
        };
        if let Some(bias) = &block.ln1.bias {
            v = (v + times(&weight, bias)?)?;
        }
        let share = c.n_heads / c.n_kv_heads;
        let v = v.reshape((c.n_kv_heads, 1, c.d_head))?.expand((c.n_kv_heads, share, c.d_head))?;
        Ok(Some(v.contiguous()?.flatten_all()?))
    }

    /// The same model with default processing applied to its weights. Every tensor is new except the rotary tables.
    pub fn process(&self) -> Result<Self> {
        let layer_norm = self.config.norm == NormKind::LayerNorm;
        let center_rows = |t: &Tensor| -> Result<Tensor> {
            Ok(if layer_norm { t.broadcast_sub(&t.mean_keepdim(D::Minus1)?)? } else { t.clone() })
        };
        let center_outputs = |l: &Linear| -> Result<Linear> {
            if !layer_norm {
                return Ok(l.clone());
            }
            let bias = l.bias.as_ref().map(|b| b.broadcast_sub(&b.mean_keepdim(0)?)).transpose()?;
            Ok(Linear { weight: l.weight.broadcast_sub(&l.weight.mean_keepdim(0)?)?, bias })
        };
        let mut out = self.clone();
        out.processed = true;
        out.embed = center_rows(&self.embed)?;
        if self.config.embed_scale != 1.0 {
            out.embed = (out.embed * self.config.embed_scale)?;
            out.config.embed_scale = 1.0;
        }
        out.positions = self.positions.as_ref().map(center_rows).transpose()?;
        for (layer, block) in out.blocks.iter_mut().enumerate() {
            let value_bias = if layer_norm { self.value_bias(layer)? } else { None };
            block.qkv = fold(&block.ln1, &block.qkv)?;
            block.mlp_in = fold(&block.ln2, &block.mlp_in)?;
            (block.ln1.weight, block.ln1.bias) = (None, None);
            (block.ln2.weight, block.ln2.bias) = (None, None);
            if let (Some(v), Some(bias)) = (value_bias, &block.qkv.bias) {
                // The constant part of z moves behind W_O.
                let moved = times(&block.o.weight, &v)?;
                let o_bias = match &block.o.bias {
                    Some(bias) => (bias + moved)?,
                    None => moved,
                };
                block.o.bias = Some(o_bias);
                let c = &self.config;
                let keep = (c.n_heads + c.n_kv_heads) * c.d_head;
                let zeros = Tensor::zeros(c.n_kv_heads * c.d_head, bias.dtype(), bias.device())?;
                block.qkv.bias = Some(Tensor::cat(&[bias.narrow(0, 0, keep)?, zeros], 0)?);
            }
            block.o = center_outputs(&block.o)?;
            block.mlp_out = center_outputs(&block.mlp_out)?;
        }
        let unembed = fold(&self.ln_final, &self.unembed)?;
        (out.ln_final.weight, out.ln_final.bias) = (None, None);
        out.unembed = if self.config.logit_softcap.is_none() {
            // Logits minus their mean over the vocabulary.
            let bias = unembed.bias.as_ref().map(|b| b.broadcast_sub(&b.mean_keepdim(0)?)).transpose()?;
            Linear { weight: unembed.weight.broadcast_sub(&unembed.weight.mean_keepdim(0)?)?, bias }
        } else {
            unembed
        };
        if layer_norm {
            // With the norm's weight gone, the mean over d_model can leave what reads the normalised stream.
            for linear in out.blocks.iter_mut().flat_map(|b| [&mut b.qkv, &mut b.mlp_in]).chain([&mut out.unembed]) {
                linear.weight = linear.weight.broadcast_sub(&linear.weight.mean_keepdim(1)?)?;
            }
        }
        Ok(out)
    }
}

/// A norm's weight and bias moved into the matrix that reads it.
fn fold(norm: &Norm, linear: &Linear) -> Result<Linear> {
    let mut bias = linear.bias.clone();
    if let Some(b) = &norm.bias {
        let moved = times(&linear.weight, b)?;
        bias = Some(match bias {
            Some(bias) => (bias + moved)?,
            None => moved,
        });
    }
    Ok(Linear { weight: norm.scale(&linear.weight)?, bias })
}

/// Matrix times vector.
fn times(matrix: &Tensor, vector: &Tensor) -> Result<Tensor> {
    Ok(matrix.matmul(&vector.to_dtype(matrix.dtype())?.unsqueeze(1)?)?.squeeze(1)?)
}
