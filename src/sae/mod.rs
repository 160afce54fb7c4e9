//! Sparse autoencoders: encode, decode, and the published layouts they are read from.

pub mod activation;
pub mod formats;
mod gradient;
pub mod latents;
pub mod normalize;

use candle_core::{Device, Tensor};
use serde_json::Value;

pub use activation::Activation;
pub use latents::Latents;
pub use normalize::Normalize;

use crate::{
    error::{Error, Result},
    kernels::{
        encode::{self, Encoder, Gate},
        with_f32,
    },
    model::{HookPoint, Space},
    prune::Pruning,
};

/// What an SAE's file says beside its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct SaeConfig {
    pub name: String,
    /// The field's name of the architecture: `standard`, `topk`, `jumprelu`, `gated`.
    pub architecture: &'static str,
    pub d_in: usize,
    pub d_sae: usize,
    pub hook: HookPoint,
    pub normalize: Normalize,
    pub apply_b_dec_to_input: bool,
    pub prepend_bos: bool,
    /// Which activations it was trained on.
    pub space: Space,
    /// The config as it was read.
    pub source: Value,
    /// What a person should know before trusting it.
    pub warnings: Vec<String>,
}

/// A sparse autoencoder. Matrices have one row a latent, in f32.
#[derive(Clone, Debug)]
pub struct Sae {
    pub config: SaeConfig,
    /// `[d_sae, d_in]`.
    pub w_enc: Tensor,
    pub b_enc: Vec<f32>,
    /// `[d_sae, d_in]`.
    pub w_dec: Tensor,
    pub b_dec: Vec<f32>,
    pub activation: Activation,
    /// Factor on each latent when decoding (`scaling_factor` of SAELens up to 5).
    pub decode_scale: Option<Vec<f32>>,
}

/// Latents of some tokens, with what is needed to undo the input's normalisation.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub latents: Latents,
    pub undo: normalize::Undo,
}

impl Sae {
    pub fn d_in(&self) -> usize {
        self.config.d_in
    }

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

    pub fn bytes(&self) -> u64 {
        4 * (self.w_enc.elem_count() + self.w_dec.elem_count() + self.b_enc.len() + self.b_dec.len()) as u64
    }

    /// The activation of an input `[n, d_in]` as the encoder's matrix meets it: normalised, less `b_dec` where the SAE says so.
    pub fn process_input(&self, x: &Tensor) -> Result<(Vec<f32>, normalize::Undo)> {
        let d = self.d_in();
        let found = x.dims().last().copied().unwrap_or(0);
        if found != d {
            return Err(Error::invalid(format!("{} reads activations of width {d}, found {found}", self.config.name)));
        }
        let mut x = with_f32(&x.to_device(&Device::Cpu)?.contiguous()?, <[f32]>::to_vec)?;
        let undo = self.config.normalize.apply(&mut x, d);
        if self.config.apply_b_dec_to_input {
            for row in x.chunks_mut(d) {
                row.iter_mut().zip(&self.b_dec).for_each(|(x, b)| *x -= b);
            }
        }
        Ok((x, undo))
    }

    /// Latents of activations `[n, d_in]`, with the SAE pruned if asked.
    pub fn encode(&self, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded> {
        let (x, undo) = self.process_input(x)?;
        let mut latents = self.with_encoder(pruning, |encoder| encoder.encode(&x))?;
        self.activation.finish(&mut latents, &self.b_enc);
        Ok(Encoded { latents, undo })
    }

    /// Pre-activations `[n, d_sae]` of the unpruned encoder, as SAELens' `hook_sae_acts_pre` gives them.
    pub fn pre_activations(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (d_in, d_sae) = (self.d_in(), self.d_sae());
        with_f32(&self.w_enc, |w| {
            let mut pre = crate::kernels::matmul::linear(x, w, Some(&self.b_enc), d_in, d_sae);
            for row in pre.chunks_mut(d_sae) {
                self.activation.magnitudes(row, &self.b_enc);
            }
            pre
        })
    }

    /// Reconstruction `[n, d_in]` in the units of the activations.
    pub fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        let mut out = self.decode_normalised(encoded, pruning)?;
        encoded.undo.apply(&mut out, self.d_in());
        let n = encoded.latents.rows();
        Ok(Tensor::from_vec(out, (n, self.d_in()), &Device::Cpu)?)
    }

    /// `f W_dec + b_dec`, still normalised: SAELens' `hook_sae_recons`.
    pub fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>> {
        let norms = self.decoder_norms(pruning)?;
        let divisor = norms.or_else(|| self.decode_scale.as_ref().map(|s| s.iter().map(|v| 1.0 / v).collect()));
        with_f32(&self.w_dec, |w| {
            encode::decode(&encoded.latents, w, pruning.map(Pruning::dec), &self.b_dec, divisor.as_deref())
        })
    }

    /// Run with the encoder at a ratio.
    pub fn with_encoder<R>(&self, pruning: Option<&Pruning>, run: impl FnOnce(Encoder) -> R) -> Result<R> {
        let norms = self.decoder_norms(pruning)?;
        with_f32(&self.w_enc, |weight| {
            run(Encoder {
                weight,
                bias: &self.b_enc,
                scale: norms.as_deref(),
                mask: pruning.map(Pruning::enc),
                gate: self.gate(),
            })
        })
    }

    fn gate(&self) -> Gate<'_> {
        match &self.activation {
            Activation::TopK { k, .. } => Gate::Largest(*k),
            Activation::JumpRelu { threshold } => Gate::Above(threshold),
            _ => Gate::Positive,
        }
    }

    /// Norms of the decoder rows at a ratio, for the SAEs that rescale by them.
    pub fn decoder_norms(&self, pruning: Option<&Pruning>) -> Result<Option<Vec<f32>>> {
        if !matches!(self.activation, Activation::TopK { rescale_by_decoder_norm: true, .. }) {
            return Ok(None);
        }
        let d = self.d_in();
        let norms = with_f32(&self.w_dec, |w| {
            let mut row = vec![0.0; d];
            let mut norm = |latent: usize| {
                encode::keep(w, pruning.map(Pruning::dec), latent * d..(latent + 1) * d, &mut row);
                row.iter().map(|v| v * v).sum::<f32>().sqrt()
            };
            (0..self.d_sae()).map(&mut norm).collect()
        })?;
        Ok(Some(norms))
    }
}
