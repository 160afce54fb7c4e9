//! On a GPU, by the kernels of [`device`].

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{Later, Logits, Ops, Traced, cpu::Cpu};
use crate::{
    Act, Sparsity, Spread, TokenErrors,
    attention::Heads,
    device::{self, Backend, attention, layers, ragged},
    error::{Error, Result},
    layers::{Norm, Tables},
    losses::Compared,
    ragged::{Kv, Tokens},
};

#[derive(Debug)]
pub struct OnDevice(pub Arc<dyn Backend>);

/// Whether there are kernels for this type; candle has operations for the others.
fn has_kernels(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

impl Ops for OnDevice {
    fn backend(&self) -> Option<&Arc<dyn Backend>> {
        Some(&self.0)
    }

    fn norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        if has_kernels(x) { layers::norm(&*self.0, x, norm) } else { Cpu.norm(x, norm) }
    }

    fn add_norm(
        &self,
        x: &Tensor,
        delta: &Tensor,
        post: Option<Norm>,
        next: Option<Norm>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        match has_kernels(x) {
            true => layers::add_norm(&*self.0, x, delta, post, next),
            false => Cpu.add_norm(x, delta, post, next),
        }
    }

    fn activate(&self, x: Tensor, act: Act, gated: bool) -> Result<Tensor> {
        if has_kernels(&x) { layers::activate(&*self.0, &x, act, gated) } else { Cpu.activate(x, act, gated) }
    }

    fn attention(
        &self,
        qkv: Tensor,
        rows: (usize, usize),
        heads: Heads,
        norms: Option<[Norm; 2]>,
        tables: Option<Tables>,
    ) -> Result<Tensor> {
        match attention::takes(qkv.dtype(), heads.width) {
            true => attention::causal(&*self.0, &qkv, rows, heads, norms, tables),
            false => Cpu.attention(qkv, rows, heads, norms, tables),
        }
    }

    fn attend_ragged(&self, tokens: &Tokens, qkv: &Tensor, own: &mut [Kv]) -> Result<Tensor> {
        ragged::read(&*self.0, tokens, qkv, own)
    }

    fn trace_ragged(&self, tokens: &Tokens, qkv: &Tensor) -> Result<(Tensor, Traced)> {
        let (z, traced) = ragged::trace(&*self.0, tokens, qkv)?;
        Ok((z, Traced::OnDevice(traced)))
    }

    fn ragged_vjp(&self, tokens: &Tokens, traced: &Traced, g: &Tensor) -> Result<Tensor> {
        match traced {
            Traced::OnDevice(traced) => ragged::vjp(&*self.0, tokens, traced, g),
            Traced::Here(_) => Cpu.ragged_vjp(tokens, traced, g),
        }
    }

    fn norm_vjp(&self, x: &Tensor, g: &Tensor, norm: Norm) -> Result<Tensor> {
        ragged::norm_vjp(&*self.0, x, g, norm)
    }

    fn activate_vjp(&self, x: &Tensor, g: &Tensor, act: Act, gated: bool) -> Result<Tensor> {
        ragged::activate_vjp(&*self.0, x, g, act, gated)
    }

    fn prune(&self, weight: &Tensor, norms: Option<&[f32]>, sparsity: Sparsity) -> Result<Tensor> {
        device::prune(&*self.0, weight, norms, sparsity)
    }

    fn same_bits(&self, before: &Tensor, after: &Tensor) -> Result<Vec<u8>> {
        device::same_bits(&*self.0, before, after)
    }

    fn keep_bits(&self, values: &Tensor, bits: &[u8]) -> Result<Tensor> {
        device::keep_bits(&*self.0, values, bits)
    }

    /// The kernel caps and sums while it compares.
    fn logits(&self, values: Tensor, cap: Option<f64>) -> Result<Logits> {
        let values = if has_kernels(&values) { values } else { values.to_dtype(DType::F32)? };
        Ok(Logits { values, cap, lse: Vec::new() })
    }

    fn compare(&self, p: &Logits, others: &[&Logits], targets: &[Option<u32>]) -> Result<Later<Compared>> {
        if others.iter().any(|q| q.cap != p.cap) {
            return Err(Error::invalid("logits of models with different caps cannot be compared"));
        }
        let others: Vec<&Tensor> = others.iter().map(|q| &q.values).collect();
        // No vocabulary has so many.
        let targets: Vec<u32> = targets.iter().map(|target| target.unwrap_or(u32::MAX)).collect();
        let losses = device::compare(&*self.0, &p.values, &others, p.cap, &targets)?;
        let backend = self.0.clone();
        Ok(Box::new(move || losses.to_compared(&*backend)))
    }

    fn likeliest(&self, logits: &Tensor) -> Result<Vec<u32>> {
        device::largest_place(&*self.0, logits)
    }

    fn token_errors(&self, x: &Tensor, recon: &Tensor) -> Result<Later<Vec<TokenErrors>>> {
        let errors = device::token_errors(&*self.0, x, recon)?;
        let backend = self.0.clone();
        Ok(Box::new(move || {
            let numbers = errors.to_vec(&*backend)?;
            let token = |row: &[f64]| TokenErrors { resid_sq: row[0], out_sq: row[1], dot: row[2] };
            Ok(numbers.chunks_exact(3).map(token).collect())
        }))
    }

    fn spread(&self, x: &Tensor, kept: &[bool]) -> Result<Spread> {
        device::spread(&*self.0, &x.to_dtype(DType::F32)?, kept)
    }

    fn text_means(&self, x: &Tensor, lengths: &[usize]) -> Result<Vec<f32>> {
        device::text_means(&*self.0, &x.to_dtype(DType::F32)?, lengths)?.to_vec(&*self.0)
    }

    fn await_previous(&self) -> Result<()> {
        self.0.await_previous()
    }
}
