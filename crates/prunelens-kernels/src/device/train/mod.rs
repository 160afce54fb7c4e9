//! A step of an SAE's training on a GPU: losses and gradients of a batch, and what Adam makes of them. Only figures come back.
//! Twin: the CPU's step in `prunelens-core`.
//!
//! Gradients are whole before the first weight moves: those that are clipped are divided by the length of all, and a step that
//! diverged leaves the weights as they were.

mod adam;
mod choose;
mod dense;
mod sparse;

use candle_core::{DType, Tensor};

pub use adam::{Adam, Moments, Step};
pub use dense::{Rule, Sparsity, dense};
pub use sparse::sparse;

use super::{Backend, Buffer, Matrix, Shape, bits, launch, row_norms};
use crate::{
    error::{Error, Result},
    with_f32,
};

/// Weights of an SAE, each of which its tensor alone has: steps are taken in place. Latents are rows of both matrices.
pub struct Weights {
    /// `[d_sae, d_in]`
    pub w_enc: Tensor,
    /// `[d_sae]`
    pub b_enc: Tensor,
    /// `[d_sae, d_in]`
    pub w_dec: Tensor,
    /// `[d_in]`
    pub b_dec: Tensor,
    /// What the kind has besides, `[d_sae]` each.
    pub vectors: Vec<Tensor>,
}

impl Weights {
    fn d_sae(&self) -> usize {
        self.b_enc.elem_count()
    }

    fn d_in(&self) -> usize {
        self.b_dec.elem_count()
    }

    /// Lengths of the decoder's rows.
    pub fn lengths(&self, backend: &dyn Backend) -> Result<Buffer<f32>> {
        row_norms(backend, &Matrix::of(backend, &self.w_dec)?, &[None])
    }
}

/// A batch, the SAE that it is for, and what is known of its latents.
pub struct Task<'a> {
    /// The SAE.
    pub weights: &'a Weights,
    /// Of the decoder's rows.
    pub lengths: &'a Buffer<f32>,
    /// `[tokens, d_in]`
    pub x: &'a Tensor,
    /// Latents that have not fired for long.
    pub dead: &'a [u32],
}

impl Task<'_> {
    fn tokens(&self) -> Result<usize> {
        Ok(self.x.dim(0)?)
    }

    /// `x - b_dec`.
    fn centred(&self) -> Result<Tensor> {
        Ok(self.x.broadcast_sub(&self.weights.b_dec)?)
    }

    /// Sum of the inputs.
    fn input(&self) -> Result<Vec<f32>> {
        with_f32(&self.x.sum(0)?, <[f32]>::to_vec)
    }
}

/// Gradients of all weights, and by the lengths of the decoder's rows for losses that have them in it.
pub struct Gradients {
    w_enc: Tensor,
    b_enc: Tensor,
    w_dec: Tensor,
    b_dec: Tensor,
    vectors: Vec<Tensor>,
    by_length: Buffer<f32>,
}

impl Gradients {
    /// Whether those of the decoder's bias, which all others are mixed into, are numbers.
    pub fn are_finite(&self) -> Result<bool> {
        with_f32(&self.b_dec, |values| values.iter().all(|value| value.is_finite()))
    }

    /// The gradient of `b_dec`: by the outputs directly, and through the encoder's input, from which `b_dec` is subtracted.
    /// `by_pre` are the gradients by the pre-activations, summed over the tokens.
    fn of_b_dec(by_output: &Tensor, by_pre: &Tensor, weights: &Weights) -> Result<Tensor> {
        let through = by_pre.unsqueeze(0)?.matmul(&weights.w_enc)?.squeeze(0)?;
        Ok((by_output.sum(0)? - through)?)
    }
}

/// Sums over the tokens of a batch, each with its weight in the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// `|x̂ - x|^2`
    pub squared_error: f64,
    /// `|x|^2`
    pub squared_input: f64,
    /// `|x̂ - x|^2` of the reconstructions by the first latents alone.
    pub inner: f64,
    /// What dead latents are taught by; of a gated SAE, the gates' own reconstruction.
    pub auxiliary: f64,
    /// The penalty for latents that fire.
    pub penalty: f64,
    /// How many fire.
    pub active: f64,
    /// `x`
    pub input: Vec<f32>,
}

/// What a batch gave.
pub struct Outcome {
    /// Figures.
    pub sums: Sums,
    /// Where they are.
    pub gradients: Gradients,
    /// Which latents fired.
    pub fired: Vec<bool>,
    /// The least latent above zero that a choice among the batch left.
    pub least: Option<f32>,
}

/// Where the numbers of a tensor lie, which outlives the call: of none that would have to be copied first.
fn address_of(backend: &dyn Backend, tensor: &Tensor) -> Result<u64> {
    if tensor.dtype() != DType::F32 || !tensor.is_contiguous() {
        return Err(Error::invalid("a step of training needs contiguous tensors in f32"));
    }
    Ok(backend.memory_of(tensor)?.address)
}
