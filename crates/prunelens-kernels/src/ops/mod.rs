//! One place for each operation that a CPU and a GPU do differently: [`Ops`] is implemented once for either.

mod cpu;
mod on_device;

use std::{fmt, sync::Arc};

use candle_core::{Device, Tensor};

use crate::{
    Act, Sparsity, Spread, TokenErrors,
    attention::Heads,
    device::{self, Backend},
    error::Result,
    layers::{Norm, Tables},
    losses::Compared,
    ragged::{self, Kv, Tokens},
};

/// What is still being computed on a GPU; to ask for it is to wait.
pub type Later<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// Rows of logits, ready to be compared.
#[derive(Clone, Debug)]
pub struct Logits {
    /// `[rows, vocab]`; a single row may stand for as many as it is compared with.
    values: Tensor,
    /// What is still to be put on every logit where it is read.
    cap: Option<f64>,
    /// [`log_sum_exp`](crate::losses::log_sum_exp) of each row, where it is taken once and not in the comparison.
    lse: Vec<f32>,
}

/// What attention over texts of any lengths leaves for its gradient.
#[derive(Debug)]
pub enum Traced {
    /// On the CPU.
    Here(ragged::CpuTrace),
    /// On a GPU.
    OnDevice(device::ragged::Traced),
}

/// The operations behind a model that are more than one call of candle. Tensors lie where the implementation works.
pub trait Ops: Send + Sync + fmt::Debug {
    /// What runs the kernels, if that is a GPU: its memory and launches.
    fn backend(&self) -> Option<&Arc<dyn Backend>>;

    /// LayerNorm or RMS norm over the last dimension.
    fn norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor>;

    /// A residual stream with a part of a block added, `x + delta`, where `delta` passes a norm of its own first if it has one
    /// (`post`); and the norm of the sum, where something reads it next.
    fn add_norm(
        &self,
        x: &Tensor,
        delta: &Tensor,
        post: Option<Norm>,
        next: Option<Norm>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let sum = match post {
            Some(post) => (x + self.norm(delta, post)?)?,
            None => (x + delta)?,
        };
        let normed = next.map(|next| self.norm(&sum, next)).transpose()?;
        Ok((sum, normed))
    }

    /// The activation function between an MLP's matrices, of `x [n, width]`; gated, of `[n, 2 width]`, gates first.
    fn activate(&self, x: Tensor, act: Act, gated: bool) -> Result<Tensor>;

    /// Causal attention of rows of equal length: `qkv [batch * time, (heads + 2 kv_heads) * width]` to
    /// `z [batch * time, heads * width]`. `norms` are of each head's queries and keys.
    fn attention(
        &self,
        qkv: Tensor,
        rows: (usize, usize),
        heads: Heads,
        norms: Option<[Norm; 2]>,
        tables: Option<Tables>,
    ) -> Result<Tensor>;

    /// Attention of texts of any lengths, `qkv [tokens, row]` to `z [tokens, heads * width]`. `own` are keys and values that
    /// each text has in this block already; new ones are appended.
    fn attend_ragged(&self, tokens: &Tokens, qkv: &Tensor, own: &mut [Kv]) -> Result<Tensor>;

    /// The same of the first tokens after what texts share, with what the gradient needs.
    fn trace_ragged(&self, tokens: &Tokens, qkv: &Tensor) -> Result<(Tensor, Traced)>;

    /// The gradient by `qkv` from the one by `z`, in f32.
    fn ragged_vjp(&self, tokens: &Tokens, traced: &Traced, g: &Tensor) -> Result<Tensor>;

    /// The gradient by the input of a norm from the one by its output, in f32.
    fn norm_vjp(&self, x: &Tensor, g: &Tensor, norm: Norm) -> Result<Tensor>;

    /// The gradient by what [`activate`](Self::activate) reads from the one by what it gives, in f32.
    fn activate_vjp(&self, x: &Tensor, g: &Tensor, act: Act, gated: bool) -> Result<Tensor>;

    /// A copy of weights `[rows, columns]` without those of lowest score: `|w|` times the norm of its column, or `|w|` alone.
    fn prune(&self, weight: &Tensor, norms: Option<&[f32]>, sparsity: Sparsity) -> Result<Tensor>;

    /// Which numbers of two tensors are the same bits: [`bits::same`](crate::bits::same).
    fn same_bits(&self, before: &Tensor, after: &Tensor) -> Result<Vec<u8>>;

    /// The numbers that such bits keep: [`bits::keep`](crate::bits::keep).
    fn keep_bits(&self, values: &Tensor, bits: &[u8]) -> Result<Tensor>;

    /// Rows `[rows, vocab]` made ready, with a model's cap if it has one.
    fn logits(&self, values: Tensor, cap: Option<f64>) -> Result<Logits>;

    /// Cross-entropy of each row's target, and the losses of others compared with `p`.
    fn compare(&self, p: &Logits, others: &[&Logits], targets: &[Option<u32>]) -> Result<Later<Compared>>;

    /// The id with the largest of each row of logits `[rows, vocab]` in f32, the first of equals.
    fn likeliest(&self, logits: &Tensor) -> Result<Vec<u32>>;

    /// Mean of each text's tokens, `[texts, width]`, of `x [tokens, width]`, where texts of these lengths lie end to end.
    fn text_means(&self, x: &Tensor, lengths: &[usize]) -> Result<Vec<f32>>;

    /// How activations `[tokens, d_in]` lie about their mean; `kept` are the tokens that count.
    fn spread(&self, x: &Tensor, kept: &[bool]) -> Result<Spread>;

    /// What reconstructions leave of activations, both `[tokens, d_in]`.
    fn token_errors(&self, x: &Tensor, recon: &Tensor) -> Result<Later<Vec<TokenErrors>>>;

    /// Wait until what was launched before the last call of this is done: long work leaves others room between its parts.
    fn await_previous(&self) -> Result<()>;
}

/// `cap tanh(x / cap)`.
pub fn softcap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => ((x / cap)?.tanh()? * cap)?,
        None => x,
    })
}

/// What works on a device.
pub fn of(device: &Device) -> Result<Arc<dyn Ops>> {
    Ok(on(device::of(device)?))
}

/// What works through a backend, or on the CPU without one.
pub fn on(backend: Option<Arc<dyn Backend>>) -> Arc<dyn Ops> {
    match backend {
        Some(backend) => Arc::new(on_device::OnDevice(backend)),
        None => Arc::new(cpu::Cpu),
    }
}
