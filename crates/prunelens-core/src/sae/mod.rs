//! Sparse autoencoders: their weights, what they compute on a CPU or a GPU, and the published layouts they are read from.

pub mod activation;
mod cpu;
mod criterion;
mod device;
mod dial;
mod dictionary;
mod factors;
pub mod formats;
mod gradient;
mod knob;
pub mod normalize;
mod pruning;
mod ranked;
mod text_sums;

use candle_core::Tensor;
use prunelens_kernels::{
    encode::{Encoder, Gate},
    with_f32,
};
use serde_json::Value;

pub use activation::Activation;
pub use criterion::{Criterion, MAX_RATIO};
pub use device::DeviceSae;
pub use dial::Dial;
pub use dictionary::{Dictionary, Encoded, Side, firing, place};
pub use factors::Factors;
pub use knob::{GRID, Knob, Scale, Setting, share};
pub use normalize::Normalize;
pub use prunelens_kernels::latents::Latents;
pub use pruning::{Matrix, Order, Plan, Pruning};
pub use ranked::Ranked;
pub use text_sums::TextSum;

use crate::{
    error::{Error, Result},
    model::{HookPoint, Space},
};

/// What an SAE's file says beside its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct SaeConfig {
    /// As users know it.
    pub name: String,
    /// The field's name of the architecture: `standard`, `topk`, `jumprelu`, `gated`.
    pub architecture: &'static str,
    /// Width of the activations it reads.
    pub d_in: usize,
    /// Size of the dictionary.
    pub d_sae: usize,
    /// Where it reads.
    pub hook: HookPoint,
    /// The module whose output it reads, where the files name one of a Hugging Face model.
    pub module: Option<String>,
    /// Of its input.
    pub normalize: Normalize,
    /// Subtract `b_dec` from the input of the encoder.
    pub apply_b_dec_to_input: bool,
    /// It was trained on texts with a BOS token.
    pub prepend_bos: bool,
    /// Which activations it was trained on.
    pub space: Space,
    /// The factor on activations that is folded into the weights here, and is not in the file.
    pub folded: Option<f64>,
    /// The config as it was read.
    pub source: Value,
    /// What a user should know before trusting it.
    pub warnings: Vec<String>,
}

/// A sparse autoencoder as it was read, on the CPU. Matrices have one row a latent, in f32. What it computes is in
/// [`Dictionary`].
#[derive(Clone, Debug)]
pub struct Sae {
    /// What its files say of it.
    pub config: SaeConfig,
    /// `[d_sae, d_in]`.
    pub w_enc: Tensor,
    /// One number a latent.
    pub b_enc: Vec<f32>,
    /// `[d_sae, d_in]`.
    pub w_dec: Tensor,
    /// One number an input.
    pub b_dec: Vec<f32>,
    /// What makes latents of pre-activations.
    pub activation: Activation,
    /// Factor on each latent when decoding (`scaling_factor` of SAELens up to 5).
    pub decode_scale: Option<Vec<f32>>,
}

impl Sae {
    /// Width of the activations it reads.
    pub fn d_in(&self) -> usize {
        self.config.d_in
    }

    /// Size of the dictionary.
    pub fn d_sae(&self) -> usize {
        self.config.d_sae
    }

    /// "2k topk32", "24k standard" ...
    pub fn label(&self) -> String {
        let d_sae = self.d_sae();
        let size = if d_sae >= 1000 { format!("{}k", d_sae / 1000) } else { d_sae.to_string() };
        let k = if let Activation::TopK { k, .. } = self.activation { k.to_string() } else { String::new() };
        format!("{size} {}{k}", self.config.architecture)
    }

    /// What a GPU has to hold of it at most: weights, and ranks by one criterion.
    pub fn device_bytes(&self) -> u64 {
        let rank = |group: usize| if group <= usize::from(u16::MAX) + 1 { 2 } else { 4 };
        let weights = (self.d_sae() * self.d_in()) as u64;
        weights * (2 * 4 + rank(self.d_in()) + rank(self.d_sae()))
    }

    /// Memory that its weights take on the CPU.
    pub fn bytes(&self) -> u64 {
        4 * (self.w_enc.elem_count() + self.w_dec.elem_count() + self.b_enc.len() + self.b_dec.len()) as u64
    }

    /// The activation of an input `[n, d_in]` as the encoder's matrix meets it: normalised, less `b_dec` where the SAE says so.
    pub fn process_input(&self, x: &Tensor) -> Result<(Vec<f32>, normalize::Undo)> {
        self.check_width(x)?;
        let d = self.d_in();
        let mut x = with_f32(x, <[f32]>::to_vec)?;
        let undo = self.config.normalize.apply(&mut x, d);
        if self.config.apply_b_dec_to_input {
            for row in x.chunks_mut(d) {
                row.iter_mut().zip(&self.b_dec).for_each(|(x, b)| *x -= b);
            }
        }
        Ok((x, undo))
    }

    fn check_width(&self, x: &Tensor) -> Result<()> {
        let (expected, found) = (self.d_in(), x.dims().last().copied().unwrap_or(0));
        if found == expected {
            return Ok(());
        }
        let name = &self.config.name;
        Err(Error::invalid(format!("{name} reads activations of width {expected}, found {found}")))
    }

    /// Pre-activations `[n, d_sae]` of the unpruned encoder, as SAELens' `hook_sae_acts_pre` gives them.
    pub fn pre_activations(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (d_in, d_sae) = (self.d_in(), self.d_sae());
        with_f32(&self.w_enc, |w| {
            let mut pre = prunelens_kernels::matmul::linear(x, w, Some(&self.b_enc), d_in, d_sae);
            for row in pre.chunks_mut(d_sae) {
                self.activation.magnitudes(row, &self.b_enc);
            }
            pre
        })
    }

    /// Run with the encoder as a setting leaves it, on inputs that [`turned`](Self::turned) gave.
    pub fn with_encoder<R>(&self, pruning: Option<&Pruning>, run: impl FnOnce(Encoder) -> R) -> Result<R> {
        let norms = self.decoder_norms(pruning)?;
        self.matrix(Side::Enc, pruning, |matrix| {
            let Matrix { weight, kept, .. } = matrix;
            run(Encoder { weight, bias: &self.b_enc, scale: norms.as_deref(), kept, gate: self.gate() })
        })
    }

    /// Processed inputs as the encoder's matrix takes them at a setting: in its basis, where it is cut to a rank.
    pub fn turned(&self, x: Vec<f32>, pruning: Option<&Pruning>) -> Vec<f32> {
        let Some(pruning) = pruning.filter(|pruning| !pruning.is_untouched(self)) else { return x };
        match &pruning.order.enc {
            Plan::Factors(factors) => factors.turn(&x, pruning.at as usize),
            _ => x,
        }
    }

    fn gate(&self) -> Gate<'_> {
        match &self.activation {
            Activation::TopK { k, .. } => Gate::Largest(*k),
            Activation::JumpRelu { threshold } => Gate::Above(threshold),
            _ => Gate::Positive,
        }
    }

    /// What each latent is multiplied by before its decoder row, where that is not 1.
    pub fn decode_factors(&self, pruning: Option<&Pruning>) -> Result<Option<Vec<f32>>> {
        let norms = self.decoder_norms(pruning)?;
        Ok(norms.map(|norms| norms.iter().map(|norm| 1.0 / norm).collect()).or_else(|| self.decode_scale.clone()))
    }

    /// Norms of the decoder rows at a setting, for the SAEs that rescale by them.
    pub fn decoder_norms(&self, pruning: Option<&Pruning>) -> Result<Option<Vec<f32>>> {
        if !self.activation.rescales() {
            return Ok(None);
        }
        // A latent that is gone is silent: its norm is of no account, but must not be 0.
        let pruning = pruning.filter(|pruning| !matches!(pruning.order.dec, Plan::Latents(_)));
        let norms = self.matrix(Side::Dec, pruning, |matrix| {
            let mut room = vec![0.0; self.d_in()];
            (0..self.d_sae()).map(|latent| matrix.norm(latent, &mut room)).collect()
        })?;
        Ok(Some(norms))
    }
}
