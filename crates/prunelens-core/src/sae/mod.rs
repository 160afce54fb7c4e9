//! Sparse autoencoders: encode, decode, and the published layouts they are read from.

pub mod activation;
mod device;
pub mod formats;
mod gradient;
pub mod normalize;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use prunelens_kernels::{
    device::Backend,
    encode::{self, Encoder, Gate, Grid, STEPS},
    with_f32,
};
use serde_json::Value;

pub use activation::Activation;
pub use device::DeviceSae;
pub use normalize::Normalize;
pub use prunelens_kernels::latents::Latents;

use crate::{
    error::{Error, Result},
    model::{HookPoint, Space},
    prune::{Order, Pruning, grid_ratio, norms::add_squares},
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
    /// What a user should know before trusting it.
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
    /// The same weights on a card, which then does the work.
    pub backend: Option<Arc<DeviceSae>>,
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

    /// With its weights on a card too.
    pub fn to_device(mut self, backend: &Arc<dyn Backend>) -> Result<Self> {
        self.backend = Some(Arc::new(DeviceSae::new(backend.clone(), &self)?));
        Ok(self)
    }

    /// Where it works.
    pub fn device(&self) -> &Device {
        self.backend.as_ref().map_or(&Device::Cpu, |backend| backend.backend().device())
    }

    /// What a card has to hold of it at most: weights, and ranks by one criterion.
    pub fn device_bytes(&self) -> u64 {
        let rank = |group: usize| if group <= usize::from(u16::MAX) + 1 { 2 } else { 4 };
        let weights = (self.d_sae() * self.d_in()) as u64;
        weights * (2 * 4 + rank(self.d_in()) + rank(self.d_sae()))
    }

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

    /// Latents of activations `[n, d_in]`, with the SAE pruned if asked.
    pub fn encode(&self, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded> {
        if let Some(backend) = &self.backend {
            return backend.encode(self, x, pruning);
        }
        let (x, undo) = self.process_input(x)?;
        let mut latents = self.with_encoder(pruning, |encoder| encoder.encode(&x))?;
        self.activation.finish(&mut latents, &self.b_enc);
        Ok(Encoded { latents, undo })
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

    /// Sum over positions of the square of each pre-activation, of activations `[n, d_in]`.
    pub fn pre_activation_squares(&self, x: &Tensor) -> Result<Vec<f64>> {
        if let Some(backend) = &self.backend {
            return backend.pre_activation_squares(self, x);
        }
        // Dense pre-activations are wide: a few positions at a time.
        let (input, mut squares) = (self.process_input(x)?.0, vec![0.0; self.d_sae()]);
        for rows in input.chunks(64 * self.d_in()) {
            add_squares(&mut squares, &self.pre_activations(rows)?);
        }
        Ok(squares)
    }

    /// Pre-activations of the `wanted` latents of `x` at every ratio, and for TopK the last latent chosen at each.
    pub fn grid(&self, order: &Arc<Order>, x: &Tensor, wanted: &Latents) -> Result<Grid> {
        if let Some(backend) = &self.backend {
            return backend.grid(self, order, x, wanted);
        }
        let cuts: [u32; STEPS] = std::array::from_fn(|step| order.enc().cut(grid_ratio(step)));
        let (input, _) = self.process_input(x)?;
        let mut scales = Vec::new();
        for step in 0..if self.activation.rescales() { STEPS } else { 0 } {
            let pruning = Pruning { order: order.clone(), ratio: grid_ratio(step) };
            scales.extend(self.decoder_norms(Some(&pruning))?.unwrap_or_default());
        }
        let (scales, ranks) = ((!scales.is_empty()).then_some(scales.as_slice()), order.enc().host()?);
        self.with_encoder(None, |encoder| encoder.grid(&input, wanted, ranks, &cuts, scales))
    }

    /// Reconstruction `[n, d_in]` in the units of the activations, where the SAE works.
    pub fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        if let Some(backend) = &self.backend {
            return encoded.undo.apply_tensor(&backend.decode_normalised(self, &encoded.latents, pruning)?);
        }
        let mut out = self.decode_normalised(encoded, pruning)?;
        encoded.undo.apply(&mut out, self.d_in());
        let n = encoded.latents.rows();
        Ok(Tensor::from_vec(out, (n, self.d_in()), &Device::Cpu)?)
    }

    /// `f W_dec + b_dec`, still normalised: SAELens' `hook_sae_recons`.
    pub fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>> {
        if let Some(backend) = &self.backend {
            return with_f32(&backend.decode_normalised(self, &encoded.latents, pruning)?, <[f32]>::to_vec);
        }
        let norms = self.decoder_norms(pruning)?;
        let divisor = norms.or_else(|| self.decode_scale.as_ref().map(|s| s.iter().map(|v| 1.0 / v).collect()));
        let mask = pruning.map(Pruning::dec).transpose()?;
        with_f32(&self.w_dec, |w| encode::decode(&encoded.latents, w, mask, &self.b_dec, divisor.as_deref()))
    }

    /// Run with the encoder at a ratio.
    pub fn with_encoder<R>(&self, pruning: Option<&Pruning>, run: impl FnOnce(Encoder) -> R) -> Result<R> {
        let norms = self.decoder_norms(pruning)?;
        let mask = pruning.map(Pruning::enc).transpose()?;
        with_f32(&self.w_enc, |weight| {
            run(Encoder { weight, bias: &self.b_enc, scale: norms.as_deref(), mask, gate: self.gate() })
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
        if !self.activation.rescales() {
            return Ok(None);
        }
        let d = self.d_in();
        let mask = pruning.map(Pruning::dec).transpose()?;
        let norms = with_f32(&self.w_dec, |w| {
            let mut row = vec![0.0; d];
            let mut norm = |latent: usize| {
                encode::keep(w, mask, latent * d..(latent + 1) * d, &mut row);
                row.iter().map(|v| v * v).sum::<f32>().sqrt()
            };
            (0..self.d_sae()).map(&mut norm).collect()
        })?;
        Ok(Some(norms))
    }
}
