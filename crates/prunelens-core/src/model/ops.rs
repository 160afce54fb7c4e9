//! The layers of a transformer on candle tensors. On a card, and on the CPU in f32, they run through [`prunelens_kernels`]; in
//! other types of the CPU through candle's own operations.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Device, Tensor};
use prunelens_kernels::{
    Act,
    attention::{self, Heads},
    device::{Backend, layers},
    matmul, on_cpu_f32, pointwise, with_f32,
};

use super::config::{NormKind, Rope};
use crate::error::Result;

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`, contiguous.
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// `x [n, inputs]` to `[n, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        if on_cpu_f32(x) {
            let x = x.contiguous()?;
            let n = x.elem_count() / inputs;
            let out = with_f32(&x, |x| {
                with_f32(&self.weight, |w| match &self.bias {
                    Some(bias) => with_f32(bias, |b| matmul::linear(x, w, Some(b), inputs, outputs)),
                    None => Ok(matmul::linear(x, w, None, inputs, outputs)),
                })
            })???;
            return Ok(Tensor::from_vec(out, (n, outputs), self.weight.device())?);
        }
        let out = if x.device().is_cpu() && matches!(x.dtype(), DType::BF16 | DType::F16) {
            self.widened(x)?
        } else {
            x.matmul(&self.weight.t()?)?
        };
        Ok(match &self.bias {
            Some(bias) => out.broadcast_add(bias)?,
            None => out,
        })
    }
}

/// Numbers of a weight that are widened to f32 at a time.
const WIDENED: usize = 1 << 22;

impl Linear {
    /// The product in f32, some rows of a 16-bit weight at a time: a whole copy of it would double what the model takes.
    fn widened(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let wide = x.to_dtype(DType::F32)?.contiguous()?;
        let step = (WIDENED / inputs).max(1);
        let parts = (0..outputs).step_by(step).map(|start| -> Result<Tensor> {
            let rows = step.min(outputs - start);
            let weight = self.weight.narrow(0, start, rows)?.to_dtype(DType::F32)?;
            let out = with_f32(&wide, |x| with_f32(&weight, |w| matmul::linear(x, w, None, inputs, rows)))??;
            Ok(Tensor::from_vec(out, (wide.elem_count() / inputs, rows), x.device())?.to_dtype(x.dtype())?)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 1)? })
    }
}

/// LayerNorm or RMS norm. A weight or bias that is missing was folded into the next matrix.
#[derive(Clone, Debug)]
pub struct Norm {
    pub kind: NormKind,
    pub eps: f64,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
}

impl Norm {
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// As a card's kernels take it.
    fn of_kernels(&self) -> layers::Norm<'_> {
        layers::Norm {
            centred: self.kind == NormKind::LayerNorm,
            eps: self.eps as f32,
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
        }
    }

    /// Over the last dimension of `x [n, width]`.
    pub fn forward(&self, x: &Tensor, backend: Option<&dyn Backend>) -> Result<Tensor> {
        if let Some(backend) = for_kernels(backend, x) {
            return layers::norm(backend, x, self.of_kernels());
        }
        if on_cpu_f32(x) {
            let (x, width) = (x.contiguous()?, x.dim(D::Minus1)?);
            let (weight, bias) = (values(&self.weight)?, values(&self.bias)?);
            let out = with_f32(&x, |x| match self.kind {
                NormKind::LayerNorm => {
                    pointwise::layer_norm(x, width, weight.as_deref(), bias.as_deref(), self.eps as f32)
                }
                NormKind::RmsNorm => pointwise::rms_norm(x, width, weight.as_deref(), self.eps as f32),
            })?;
            return Ok(Tensor::from_vec(out, x.shape(), x.device())?);
        }
        let dtype = x.dtype();
        // 16-bit sums of squares overflow: norms are taken in f32.
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let x = x.to_dtype(wide)?;
        let x = match self.kind {
            NormKind::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::RmsNorm => x,
        };
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        let mut x = x.broadcast_div(&scale)?;
        if let Some(weight) = &self.weight {
            x = x.broadcast_mul(&weight.to_dtype(wide)?)?;
        }
        if let Some(bias) = &self.bias {
            x = x.broadcast_add(&bias.to_dtype(wide)?)?;
        }
        Ok(x.to_dtype(dtype)?)
    }
}

/// The card, where it has kernels for what `x` holds.
fn for_kernels<'a>(backend: Option<&'a dyn Backend>, x: &Tensor) -> Option<&'a dyn Backend> {
    backend.filter(|_| matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16))
}

pub(super) fn values(tensor: &Option<Tensor>) -> Result<Option<Vec<f32>>> {
    tensor.as_ref().map(|t| with_f32(t, <[f32]>::to_vec)).transpose()
}

/// What stands between the MLP's two matrices.
pub fn activate(x: Tensor, act: Act, gated: bool, backend: Option<&dyn Backend>) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    if let Some(backend) = for_kernels(backend, &x) {
        return layers::activate(backend, &x, act, gated);
    }
    if on_cpu_f32(&x) {
        if gated && matches!(act, Act::Silu | Act::GeluTanh) {
            let run = if act == Act::Silu { pointwise::silu_gated } else { pointwise::gelu_tanh_gated };
            let out = with_f32(&x, |x| run(x, width / 2))?;
            return Ok(Tensor::from_vec(out, (n, width / 2), x.device())?);
        }
        if !gated && matches!(act, Act::Gelu | Act::GeluTanh) {
            let mut out = with_f32(&x, <[f32]>::to_vec)?;
            let run = if act == Act::Gelu { pointwise::gelu } else { pointwise::gelu_tanh };
            run(&mut out);
            return Ok(Tensor::from_vec(out, (n, width), x.device())?);
        }
    }
    let apply = |x: &Tensor| match act {
        Act::GeluTanh => x.gelu(),
        Act::Gelu => x.gelu_erf(),
        Act::Silu => x.silu(),
        Act::Relu => x.relu(),
    };
    if gated {
        let half = width / 2;
        return Ok((apply(&x.narrow(1, 0, half)?.contiguous()?)? * x.narrow(1, half, half)?)?);
    }
    Ok(apply(&x)?)
}

/// `cap tanh(x / cap)`.
pub fn softcap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => ((x / cap)?.tanh()? * cap)?,
        None => x,
    })
}

/// Rotary positions. Tables grow with the longest text read: contexts of whole books are possible but rare.
#[derive(Clone, Debug)]
pub struct Rotary {
    rope: Arc<Rope>,
    device: Device,
    tables: Arc<Mutex<Option<Tables>>>,
}

/// Cosines and sines `[time, dim / 2]`.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rotary {
    pub fn new(rope: &Rope, device: &Device) -> Self {
        Self { rope: Arc::new(rope.clone()), device: device.clone(), tables: Arc::default() }
    }

    /// Those of the first `time` positions.
    pub(super) fn first(&self, time: usize) -> Result<Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = match &*tables {
            Some(tables) if tables.cos.dim(0)? >= time => tables.clone(),
            _ => {
                let n = time.next_power_of_two();
                let (cos, sin) = self.rope.tables(n);
                let shape = (n, self.rope.dim / 2);
                let cos = Tensor::from_vec(cos, shape, &self.device)?;
                let sin = Tensor::from_vec(sin, shape, &self.device)?;
                tables.insert(Tables { cos, sin }).clone()
            }
        };
        Ok(Tables { cos: tables.cos.narrow(0, 0, time)?, sin: tables.sin.narrow(0, 0, time)? })
    }
}

impl Tables {
    /// Rotate pairs `(i, i + half)` of the leading dimensions of `x [batch, heads, time, width]`.
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (cos, sin) = (self.cos.to_dtype(x.dtype())?, self.sin.to_dtype(x.dtype())?);
        let (half, width) = (cos.dim(1)?, x.dim(3)?);
        let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let rest = x.narrow(3, 2 * half, width - 2 * half)?;
        Ok(Tensor::cat(&[first, second, rest], 3)?)
    }
}

/// What an attention layer does to queries and keys before they meet.
#[derive(Clone, Copy)]
pub struct Positions<'a> {
    /// Norms of each head's queries and keys.
    pub norms: Option<&'a [Norm; 2]>,
    pub rotary: Option<&'a Rotary>,
}

/// Weights of attention that exist at a time on a card.
const WEIGHTS: usize = 1 << 28;

/// Causal attention: `qkv [batch * time, (heads + 2 kv_heads) * width]` to `z [batch * time, heads * width]`.
pub fn attention(
    qkv: Tensor,
    (batch, time): (usize, usize),
    heads: Heads,
    positions: Positions,
    backend: Option<&dyn Backend>,
) -> Result<Tensor> {
    let rotary = positions.rotary.map(|rotary| rotary.first(time)).transpose()?;
    let out_width = heads.heads * heads.width;
    if let Some(backend) = for_kernels(backend, &qkv) {
        let norms = positions.norms.map(|norms| norms.each_ref().map(Norm::of_kernels));
        let tables = rotary.as_ref().map(|tables| (&tables.cos, &tables.sin));
        let [q, k, v] = layers::split_heads(backend, &qkv, (batch, time), heads, norms, tables)?;
        let all = batch * heads.heads;
        let [q, k, v] = [q, k, v].map(|x| x.reshape((all, time, heads.width)));
        let (q, k, v) = (q?, k?, v?);
        // Some heads at a time: their weights grow with the square of the text.
        let step = (WEIGHTS / (time * time).max(1)).clamp(1, all.max(1));
        let z = (0..all).step_by(step).map(|start| -> Result<Tensor> {
            let part = |x: &Tensor| x.narrow(0, start, step.min(all - start));
            let products = part(&q)?.matmul(&part(&k)?.transpose(1, 2)?)?;
            Ok(layers::attend(backend, &products, heads)?.matmul(&part(&v)?)?)
        });
        let z = Tensor::cat(&z.collect::<Result<Vec<_>>>()?, 0)?.reshape((batch, heads.heads, time, heads.width))?;
        return Ok(z.transpose(1, 2)?.reshape((batch * time, out_width))?);
    }
    if on_cpu_f32(&qkv) {
        let z = if rotary.is_none() && positions.norms.is_none() {
            with_f32(&qkv, |qkv| attention::causal(qkv, batch, time, heads))?
        } else {
            let mut qkv = with_f32(&qkv, <[f32]>::to_vec)?;
            if let Some([q, k]) = positions.norms {
                let (q_weight, k_weight) = (values(&q.weight)?, values(&k.weight)?);
                let weights = [q_weight.as_deref().unwrap_or_default(), k_weight.as_deref().unwrap_or_default()];
                attention::normalise(&mut qkv, heads, weights, q.eps as f32);
            }
            if let Some(Tables { cos, sin }) = &rotary {
                with_f32(cos, |cos| with_f32(sin, |sin| attention::rotate(&mut qkv, time, heads, cos, sin)))??;
            }
            attention::causal(&qkv, batch, time, heads)
        };
        return Ok(Tensor::from_vec(z, (batch * time, out_width), qkv.device())?);
    }
    let Heads { heads: n_heads, kv_heads, width, scale, .. } = heads;
    let split = |start: usize, n: usize| {
        qkv.narrow(1, start * width, n * width)?.reshape((batch, time, n, width))?.transpose(1, 2)?.contiguous()
    };
    let (mut q, mut k, mut v) = (split(0, n_heads)?, split(n_heads, kv_heads)?, split(n_heads + kv_heads, kv_heads)?);
    if let Some([q_norm, k_norm]) = positions.norms {
        (q, k) = (q_norm.forward(&q, None)?, k_norm.forward(&k, None)?);
    }
    if let Some(rotary) = &rotary {
        (q, k) = (rotary.rotate(&q)?, rotary.rotate(&k)?);
    }
    if kv_heads < n_heads {
        let share = n_heads / kv_heads;
        let spread = |x: Tensor| {
            x.unsqueeze(2)?.expand((batch, kv_heads, share, time, width))?.reshape((batch, n_heads, time, width))
        };
        (k, v) = (spread(k)?, spread(v)?);
    }
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * f64::from(scale))?;
    let wide = if scores.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let scores = softcap(scores.to_dtype(wide)?, heads.softcap.map(f64::from))?;
    let scores = scores.broadcast_add(&hidden(time, heads.window, scores.device())?.to_dtype(wide)?)?;
    let weights = candle_nn::ops::softmax_last_dim(&scores.contiguous()?)?;
    let z = weights.to_dtype(v.dtype())?.matmul(&v)?;
    Ok(z.transpose(1, 2)?.reshape((batch * time, out_width))?)
}

/// Minus infinity where position `t` must not see position `s`, zero elsewhere: `[t, s]`, made where it is used.
fn hidden(time: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let places = Tensor::arange(0.0_f32, time as f32, device)?;
    let (t, s) = (places.unsqueeze(1)?, places.unsqueeze(0)?);
    let shown = Tensor::zeros((time, time), DType::F32, device)?;
    let never = Tensor::full(f32::NEG_INFINITY, (time, time), device)?;
    let mut mask = s.broadcast_gt(&t)?.where_cond(&never, &shown)?;
    if let Some(window) = window.filter(|window| *window < time) {
        let passed = (s + window as f64)?.broadcast_le(&t)?;
        mask = passed.where_cond(&never, &mask)?;
    }
    Ok(mask)
}
