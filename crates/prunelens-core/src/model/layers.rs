//! The layers of a transformer on candle tensors.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::{layers, matmul, on_cpu_f32, ops::Ops, widen_into, with_f32};

use super::config::{NormKind, Rope};
use crate::error::{Error, Result};

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`, contiguous.
    pub weight: Tensor,
    /// One number an output.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Weight and bias.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// Weight and bias, to be changed.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
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

/// Numbers of a weight that are widened to f32 at a time: a whole copy would double what the model takes.
const WIDENED: usize = 1 << 22;

impl Linear {
    /// The product in f32, some rows of a 16-bit weight at a time: a whole copy of it would double what the model takes.
    fn widened(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let wide = x.to_dtype(DType::F32)?.contiguous()?;
        let step = (WIDENED / inputs).max(1);
        let mut weight = Vec::new();
        let parts = (0..outputs).step_by(step).map(|start| -> Result<Tensor> {
            let rows = step.min(outputs - start);
            if !widen_into(&self.weight.narrow(0, start, rows)?, &mut weight) {
                return Err(Error::invalid(format!(
                    "{:?} weights are not for 16-bit activations",
                    self.weight.dtype()
                )));
            }
            let out = with_f32(&wide, |x| matmul::linear(x, &weight, None, inputs, rows))?;
            Ok(Tensor::from_vec(out, (wide.elem_count() / inputs, rows), x.device())?.to_dtype(x.dtype())?)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 1)? })
    }
}

/// LayerNorm or RMS norm. A weight or bias that is missing was folded into the next matrix. Both are in f32 (f64 in models of that), of
/// 16-bit models too: of Gemma's `1 + w` 16 bits would keep few of w's.
#[derive(Clone, Debug)]
pub struct Norm {
    /// What the row is divided by.
    pub kind: NormKind,
    /// Added inside the root.
    pub eps: f64,
    /// Factor on each column.
    pub weight: Option<Tensor>,
    /// Added to each column.
    pub bias: Option<Tensor>,
}

impl Norm {
    /// Weight and bias.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// Of the weight and bias of a model in `dtype`.
    pub(super) fn dtype(dtype: DType) -> DType {
        if dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// `x [n, width]` times the weight, in the type of `x`.
    pub fn scale(&self, x: &Tensor) -> Result<Tensor> {
        let Some(weight) = &self.weight else { return Ok(x.clone()) };
        if x.dtype() == weight.dtype() {
            return Ok(x.broadcast_mul(weight)?);
        }
        let (out, (n, width)) = (x.zeros_like()?, x.dims2()?);
        let step = (WIDENED / width).max(1);
        for start in (0..n).step_by(step) {
            let rows = x.narrow(0, start, step.min(n - start))?.to_dtype(weight.dtype())?;
            out.slice_set(&rows.broadcast_mul(weight)?.to_dtype(x.dtype())?, 0, start)?;
        }
        Ok(out)
    }

    /// As the operations take it.
    pub(super) fn view(&self) -> layers::Norm<'_> {
        layers::Norm {
            centred: self.kind == NormKind::LayerNorm,
            eps: self.eps,
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
        }
    }

    /// Over the last dimension of `x [n, width]`.
    pub fn forward(&self, x: &Tensor, ops: &dyn Ops) -> Result<Tensor> {
        ops.norm(x, self.view())
    }
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
    /// Nothing is computed yet.
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
