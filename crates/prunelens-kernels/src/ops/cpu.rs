//! On the CPU: by the loops of this crate in f32, by candle's operations in other types (which also serve a GPU that has no
//! kernel for a type).

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::{Later, Logits, Ops, Traced, softcap};
use crate::{
    Act, Sparsity, Spread, TokenErrors,
    attention::{self, Heads},
    bits,
    columns::text_means,
    device::Backend,
    error::{Error, Result},
    gradient::{self, Curve},
    layers::{Norm, Tables},
    losses::{Compared, TokenLosses, kl_divergence, log_sum_exp},
    on_cpu_f32, pointwise,
    ragged::{self, Kv, Tokens},
    ranks, widened, with_f32,
};

#[derive(Debug)]
pub struct Cpu;

/// Sums in 16 bits overflow and lose digits: what is summed is f32, or f64 where the values are.
fn wide(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

fn values(tensor: Option<&Tensor>) -> Result<Option<Vec<f32>>> {
    tensor.map(|t| with_f32(t, <[f32]>::to_vec)).transpose()
}

impl Ops for Cpu {
    fn backend(&self) -> Option<&Arc<dyn Backend>> {
        None
    }

    fn norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        if on_cpu_f32(x) {
            let (x, width, eps) = (x.contiguous()?, x.dim(D::Minus1)?, norm.eps as f32);
            let (weight, bias) = (values(norm.weight)?, values(norm.bias)?);
            let out = with_f32(&x, |x| match norm.centred {
                true => pointwise::layer_norm(x, width, weight.as_deref(), bias.as_deref(), eps),
                false => pointwise::rms_norm(x, width, weight.as_deref(), eps),
            })?;
            return Ok(Tensor::from_vec(out, x.shape(), x.device())?);
        }
        let (dtype, wide) = (x.dtype(), wide(x));
        let x = x.to_dtype(wide)?;
        let x = if norm.centred { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x };
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?.sqrt()?;
        let mut x = x.broadcast_div(&scale)?;
        if let Some(weight) = norm.weight {
            x = x.broadcast_mul(&weight.to_dtype(wide)?)?;
        }
        if let Some(bias) = norm.bias {
            x = x.broadcast_add(&bias.to_dtype(wide)?)?;
        }
        Ok(x.to_dtype(dtype)?)
    }

    fn activate(&self, x: Tensor, act: Act, gated: bool) -> Result<Tensor> {
        let (n, width) = x.dims2()?;
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

    fn attention(
        &self,
        qkv: Tensor,
        (batch, time): (usize, usize),
        heads: Heads,
        norms: Option<[Norm; 2]>,
        tables: Option<Tables>,
    ) -> Result<Tensor> {
        if !on_cpu_f32(&qkv) {
            return self.attention_by_candle(&qkv, (batch, time), heads, norms, tables);
        }
        let z = if tables.is_none() && norms.is_none() {
            with_f32(&qkv, |qkv| attention::causal(qkv, batch, time, heads))?
        } else {
            let mut qkv = with_f32(&qkv, <[f32]>::to_vec)?;
            if let Some([q, k]) = norms {
                let (q_weight, k_weight) = (values(q.weight)?, values(k.weight)?);
                let weights = [q_weight.as_deref().unwrap_or_default(), k_weight.as_deref().unwrap_or_default()];
                attention::normalise(&mut qkv, heads, weights, q.eps as f32);
            }
            if let Some((cos, sin)) = tables {
                with_f32(cos, |cos| with_f32(sin, |sin| attention::rotate(&mut qkv, time, heads, cos, sin)))??;
            }
            attention::causal(&qkv, batch, time, heads)
        };
        Ok(Tensor::from_vec(z, (batch * time, heads.heads * heads.width), qkv.device())?)
    }

    fn attend_ragged(&self, tokens: &Tokens, qkv: &Tensor, own: &mut [Kv]) -> Result<Tensor> {
        ragged::read(tokens, qkv, own)
    }

    fn trace_ragged(&self, tokens: &Tokens, qkv: &Tensor) -> Result<(Tensor, Traced)> {
        let (z, traced) = ragged::trace(tokens, qkv)?;
        Ok((z, Traced::Here(traced)))
    }

    fn ragged_vjp(&self, tokens: &Tokens, traced: &Traced, g: &Tensor) -> Result<Tensor> {
        match traced {
            Traced::Here(traced) => ragged::vjp(tokens, traced, g),
            Traced::OnDevice(_) => Err(ragged::elsewhere()),
        }
    }

    fn norm_vjp(&self, x: &Tensor, g: &Tensor, norm: Norm) -> Result<Tensor> {
        let (x, width) = (x.contiguous()?, x.dim(D::Minus1)?);
        let weight = values(norm.weight)?;
        let mut g = with_f32(&g.contiguous()?, <[f32]>::to_vec)?;
        with_f32(&x, |x| match norm.centred {
            true => gradient::layer_norm(x, &mut g, width, weight.as_deref(), norm.eps as f32),
            false => gradient::rms_norm(x, &mut g, width, weight.as_deref(), norm.eps as f32),
        })?;
        Ok(Tensor::from_vec(g, x.shape(), x.device())?)
    }

    fn activate_vjp(&self, x: &Tensor, g: &Tensor, act: Act, gated: bool) -> Result<Tensor> {
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

    fn prune(&self, weight: &Tensor, norms: Option<&[f32]>, sparsity: Sparsity) -> Result<Tensor> {
        let (columns, dtype) = (weight.dim(1)?, weight.dtype());
        if let Sparsity::NM(_, m) = sparsity
            && (m == 0 || !columns.is_multiple_of(m))
        {
            return Err(Error::invalid(format!("{m} does not divide {columns} inputs; choose another n:m")));
        }
        let wide = widened(weight)?.contiguous()?;
        let values = with_f32(&wide, |w| ranks::prune_rows(w, norms, columns, sparsity))?;
        Ok(Tensor::from_vec(values, weight.shape(), weight.device())?.to_dtype(dtype)?)
    }

    fn same_bits(&self, before: &Tensor, after: &Tensor) -> Result<Vec<u8>> {
        bits::same(before, after)
    }

    fn keep_bits(&self, values: &Tensor, bits: &[u8]) -> Result<Tensor> {
        bits::keep(values, bits)
    }

    fn logits(&self, values: Tensor, cap: Option<f64>) -> Result<Logits> {
        let vocab = values.dim(1)?;
        let values = softcap(values.to_dtype(DType::F32)?, cap)?;
        let lse = with_f32(&values, |v| v.par_chunks(vocab).map(log_sum_exp).collect())?;
        Ok(Logits { values, cap: None, lse })
    }

    fn compare(&self, p: &Logits, others: &[&Logits], targets: &[Option<u32>]) -> Result<Later<Compared>> {
        let losses = |q: &&Logits| {
            let kl = with_f32(&p.values, |p_values| {
                with_f32(&q.values, |q_values| {
                    let kl = |at| {
                        let ((p, p_lse), (q, q_lse)) = (p.row(p_values, at), q.row(q_values, at));
                        kl_divergence(p, p_lse, q, q_lse)
                    };
                    (0..targets.len()).into_par_iter().map(kl).collect()
                })
            })??;
            Ok(TokenLosses { ce: q.cross_entropies(targets)?, kl })
        };
        let others = others.iter().map(losses).collect::<Result<_>>()?;
        let found = Compared { ce: p.cross_entropies(targets)?, others };
        Ok(Box::new(|| Ok(found)))
    }

    fn likeliest(&self, logits: &Tensor) -> Result<Vec<u32>> {
        let vocab = logits.dim(1)?;
        with_f32(&logits.contiguous()?, |logits| {
            let best = |row: &[f32]| {
                let larger = |best: (u32, f32), (id, v): (u32, &f32)| if *v > best.1 { (id, *v) } else { best };
                (0..).zip(row).fold((0, f32::NEG_INFINITY), larger).0
            };
            logits.chunks(vocab.max(1)).map(best).collect()
        })
    }

    fn token_errors(&self, x: &Tensor, recon: &Tensor) -> Result<Later<Vec<TokenErrors>>> {
        let d_in = x.dims2()?.1;
        let of = |tensor: &Tensor| -> Result<Tensor> { Ok(tensor.to_dtype(DType::F32)?) };
        let errors = with_f32(&of(x)?, |x| with_f32(&of(recon)?, |recon| TokenErrors::of(x, recon, d_in)))??;
        Ok(Box::new(|| Ok(errors)))
    }

    fn spread(&self, x: &Tensor, kept: &[bool]) -> Result<Spread> {
        let (tokens, d_in) = x.dims2()?;
        if kept.len() != tokens {
            let known = kept.len();
            return Err(Error::invalid(format!("{tokens} tokens, of {known} of which it is known whether they count")));
        }
        with_f32(&x.to_dtype(DType::F32)?, |x| Spread::of(x, d_in, kept))
    }

    fn text_means(&self, x: &Tensor, lengths: &[usize]) -> Result<Vec<f32>> {
        let (tokens, width) = x.dims2()?;
        if lengths.iter().sum::<usize>() != tokens {
            return Err(Error::invalid(format!("texts of {lengths:?} tokens among {tokens}")));
        }
        with_f32(x, |x| text_means(x, width, lengths))
    }

    fn await_previous(&self) -> Result<()> {
        Ok(())
    }
}

impl Logits {
    fn cross_entropies(&self, targets: &[Option<u32>]) -> Result<Vec<f32>> {
        with_f32(&self.values, |values| {
            let ce = |(at, target): (usize, &Option<u32>)| {
                let (row, lse) = self.row(values, at);
                target.and_then(|t| row.get(t as usize)).map_or(f32::NAN, |logit| lse - logit)
            };
            targets.iter().enumerate().map(ce).collect()
        })
    }

    /// A row and its log-sum-exp.
    fn row<'a>(&self, values: &'a [f32], at: usize) -> (&'a [f32], f32) {
        let at = if self.lse.len() == 1 { 0 } else { at };
        let vocab = values.len() / self.lse.len().max(1);
        (&values[at * vocab..(at + 1) * vocab], self.lse[at])
    }
}

impl Cpu {
    fn attention_by_candle(
        &self,
        qkv: &Tensor,
        (batch, time): (usize, usize),
        heads: Heads,
        norms: Option<[Norm; 2]>,
        tables: Option<Tables>,
    ) -> Result<Tensor> {
        let Heads { heads: n_heads, kv_heads, width, scale, .. } = heads;
        let split = |start: usize, n: usize| {
            qkv.narrow(1, start * width, n * width)?.reshape((batch, time, n, width))?.transpose(1, 2)?.contiguous()
        };
        let (mut q, mut k) = (split(0, n_heads)?, split(n_heads, kv_heads)?);
        let mut v = split(n_heads + kv_heads, kv_heads)?;
        if let Some([q_norm, k_norm]) = norms {
            (q, k) = (self.norm(&q, q_norm)?, self.norm(&k, k_norm)?);
        }
        if let Some(tables) = tables {
            (q, k) = (rotate(&q, tables)?, rotate(&k, tables)?);
        }
        if kv_heads < n_heads {
            let share = n_heads / kv_heads;
            let spread = |x: Tensor| {
                x.unsqueeze(2)?.expand((batch, kv_heads, share, time, width))?.reshape((batch, n_heads, time, width))
            };
            (k, v) = (spread(k)?, spread(v)?);
        }
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * f64::from(scale))?;
        let wide = wide(&scores);
        let scores = scores.to_dtype(wide)?;
        let scores = softcap(scores, heads.softcap.map(f64::from))?;
        let scores = scores.broadcast_add(&hidden(time, heads.window, scores.device())?.to_dtype(wide)?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores.contiguous()?)?;
        let z = weights.to_dtype(v.dtype())?.matmul(&v)?;
        Ok(z.transpose(1, 2)?.reshape((batch * time, n_heads * width))?)
    }
}

/// Rotate pairs `(i, i + half)` of the leading dimensions of `x [batch, heads, time, width]`.
fn rotate(x: &Tensor, (cos, sin): Tables) -> Result<Tensor> {
    let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
    let (half, width) = (cos.dim(1)?, x.dim(3)?);
    let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let rest = x.narrow(3, 2 * half, width - 2 * half)?;
    Ok(Tensor::cat(&[first, second, rest], 3)?)
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
