//! An SAE in a card's memory: the latents, reconstructions and paths that the processor gives.
//!
//! Weights and ranks stay there; what comes and goes are activations, the latents that fire, and reconstructions.

use std::{fmt, sync::Arc};

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use prunelens_kernels::{
    device::{self, Backend, Buffer, Encoder, Lists, Mask, Matrix, Pairs, Route},
    encode::{Grid, STEPS},
    select::Candidate,
    with_f32,
};

use super::{Activation, Encoded, Latents, Normalize, Sae, normalize::Undo};
use crate::{
    error::Result,
    prune::{Order, Pruning, grid_ratio},
};

/// Dense latents that exist at a time, in values.
const DENSE: usize = 1 << 25;

/// The weights of an SAE on a card.
pub struct DeviceSae {
    backend: Arc<dyn Backend>,
    enc: Matrix,
    dec: Matrix,
    b_enc: Buffer<f32>,
    b_dec: Buffer<f32>,
    /// Of a JumpReLU.
    floors: Option<Buffer<f32>>,
    /// What latents are divided by when decoding, where that is fixed.
    divisors: Option<Buffer<f32>>,
    /// Subtracted from what is encoded.
    shift: Option<Tensor>,
}

impl fmt::Debug for DeviceSae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardSae").field("weights", &self.enc.values.name()).finish_non_exhaustive()
    }
}

/// A matrix in the narrowest type that holds every number of it as it is: half the memory to read, and the same results.
fn exact(tensor: &Tensor, backend: &dyn Backend) -> Result<Tensor> {
    let dtype = with_f32(tensor, |values| {
        if values.iter().all(|v| bf16::from_f32(*v).to_f32() == *v) {
            DType::BF16
        } else if values.iter().all(|v| f16::from_f32(*v).to_f32() == *v) {
            DType::F16
        } else {
            DType::F32
        }
    })?;
    Ok(tensor.to_dtype(dtype)?.to_device(backend.device())?)
}

impl DeviceSae {
    pub fn new(backend: Arc<dyn Backend>, sae: &Sae) -> Result<Self> {
        let upload = |values: &[f32]| Buffer::from_slice(&*backend, values);
        let floors = match &sae.activation {
            Activation::JumpRelu { threshold } => Some(upload(threshold)?),
            _ => None,
        };
        let divisors = sae.decode_scale.as_ref().map(|scale| scale.iter().map(|v| 1.0 / v).collect::<Vec<f32>>());
        let shift = match sae.config.apply_b_dec_to_input {
            true => Some(Tensor::from_slice(&sae.b_dec, sae.d_in(), backend.device())?),
            false => None,
        };
        Ok(Self {
            enc: Matrix::of(&*backend, &exact(&sae.w_enc, &*backend)?)?,
            dec: Matrix::of(&*backend, &exact(&sae.w_dec, &*backend)?)?,
            b_enc: upload(&sae.b_enc)?,
            b_dec: upload(&sae.b_dec)?,
            floors,
            divisors: divisors.map(|divisors| upload(&divisors)).transpose()?,
            shift,
            backend,
        })
    }

    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub fn w_enc(&self) -> &Matrix {
        &self.enc
    }

    pub fn w_dec(&self) -> &Matrix {
        &self.dec
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        [&self.enc, &self.dec].iter().map(|matrix| (matrix.values.width() * matrix.values.len()) as u64).sum()
    }

    /// As [`Sae::process_input`], without leaving the card where nothing is normalised.
    fn process_input(&self, sae: &Sae, x: &Tensor) -> Result<(Tensor, Undo)> {
        if sae.config.normalize != Normalize::None {
            let (values, undo) = sae.process_input(x)?;
            let rows = values.len() / sae.d_in();
            return Ok((Tensor::from_vec(values, (rows, sae.d_in()), self.backend.device())?, undo));
        }
        sae.check_width(x)?;
        let x = x.to_device(self.backend.device())?.to_dtype(DType::F32)?;
        let x = match &self.shift {
            Some(shift) => x.broadcast_sub(shift)?,
            None => x,
        };
        Ok((x, Undo::default()))
    }

    /// As [`Sae::encode`].
    pub fn encode(&self, sae: &Sae, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded> {
        let (x, undo) = self.process_input(sae, x)?;
        let norms = self.decoder_norms(sae, pruning)?;
        let mut latents = Latents::new(sae.d_sae());
        for start in (0..x.dim(0)?).step_by(self.rows_at_once()) {
            let part = x.narrow(0, start, self.rows_at_once().min(x.dim(0)? - start))?;
            let dense = self.dense(&part, self.mask(pruning)?, norms.as_ref())?;
            latents.extend(&match sae.activation {
                Activation::TopK { k, .. } => device::top_k(&*self.backend, &dense, sae.d_sae(), k)?.latents,
                _ => device::active(&*self.backend, &dense, sae.d_sae())?,
            });
        }
        sae.activation.finish(&mut latents, &sae.b_enc);
        Ok(Encoded { latents, undo })
    }

    /// As [`Sae::pre_activation_squares`]: some latents at a time, by the library's matrix product.
    pub fn pre_activation_squares(&self, sae: &Sae, x: &Tensor) -> Result<Vec<f64>> {
        let (x, _) = self.process_input(sae, x)?;
        let (backend, n, d_sae) = (&*self.backend, x.dim(0)?.max(1), sae.d_sae());
        let step = (DENSE / n.max(sae.d_in())).max(1);
        let mut squares = Vec::with_capacity(d_sae);
        for first in (0..d_sae).step_by(step) {
            let latents = first..(first + step).min(d_sae);
            let weight = device::mask(backend, &self.enc, None, latents.clone())?;
            let weight = weight.into_tensor(backend, &[latents.len(), sae.d_in()])?.to_dtype(DType::F32)?;
            let there = |values: &[f32]| Tensor::from_slice(&values[latents.clone()], latents.len(), backend.device());
            let products = x.matmul(&weight.t()?)?;
            let pre = match &sae.activation {
                Activation::Gated { r_mag, b_mag } => {
                    products.broadcast_mul(&there(r_mag)?.exp()?)?.broadcast_add(&there(b_mag)?)?
                }
                _ => products.broadcast_add(&there(&sae.b_enc)?)?,
            };
            squares.extend(device::column_squares(backend, &pre)?);
        }
        Ok(squares)
    }

    fn rows_at_once(&self) -> usize {
        (DENSE / self.enc.rows.max(1)).max(1)
    }

    /// Pre-activations that pass the gate, zero elsewhere.
    fn dense(&self, x: &Tensor, mask: Mask, scale: Option<&Buffer<f32>>) -> Result<Buffer<f32>> {
        let encoder = Encoder { matrix: &self.enc, mask, bias: &self.b_enc, scale, floors: self.floors.as_ref() };
        device::encode(&*self.backend, &encoder, x, Route::of(x.dim(0)?))
    }

    fn mask<'a>(&self, pruning: Option<&'a Pruning>) -> Result<Mask<'a>> {
        pruning.map_or(Ok(None), |pruning| pruning.order.enc().mask(&self.backend, pruning.ratio))
    }

    /// As [`Sae::decoder_norms`].
    fn decoder_norms(&self, sae: &Sae, pruning: Option<&Pruning>) -> Result<Option<Buffer<f32>>> {
        if !sae.activation.rescales() {
            return Ok(None);
        }
        let mask = pruning.map_or(Ok(None), |pruning| pruning.order.dec().mask(&self.backend, pruning.ratio))?;
        device::row_norms(&*self.backend, &self.dec, mask).map(Some)
    }

    /// As [`Sae::decode_normalised`], on the card.
    pub fn decode_normalised(&self, sae: &Sae, latents: &Latents, pruning: Option<&Pruning>) -> Result<Tensor> {
        let norms = self.decoder_norms(sae, pruning)?;
        let mask = pruning.map_or(Ok(None), |pruning| pruning.order.dec().mask(&self.backend, pruning.ratio))?;
        let lists = Lists::from_latents(&*self.backend, latents)?;
        let divisors = norms.as_ref().or(self.divisors.as_ref());
        let out = device::decode(&*self.backend, &lists, &self.dec, mask, &self.b_dec, divisors)?;
        out.into_tensor(&*self.backend, &[latents.rows(), sae.d_in()])
    }

    /// As [`Encoder::grid`](prunelens_kernels::encode::Encoder::grid): the paths of the `wanted` latents of `x`, and where
    /// latents are chosen, the last that was at each ratio.
    pub fn grid(&self, sae: &Sae, order: &Order, x: &Tensor, wanted: &Latents) -> Result<Grid> {
        let (x, _) = self.process_input(sae, x)?;
        let backend = &*self.backend;
        let cuts: [u32; STEPS] = std::array::from_fn(|step| order.enc().cut(grid_ratio(step)));
        let scales = match sae.activation.rescales() {
            true => {
                let norms = |step| {
                    device::row_norms(backend, &self.dec, order.dec().mask(&self.backend, grid_ratio(step))?)?
                        .to_vec(backend)
                };
                Some((0..STEPS).map(norms).collect::<Result<Vec<_>>>()?)
            }
            false => None,
        };
        let upload = |values: &[f32]| Buffer::from_slice(backend, values);
        let together = scales.as_ref().map(|scales| upload(&scales.concat())).transpose()?;
        let pairs = Pairs::new(backend, wanted)?;
        // The cut is another at each step: all ranks are read.
        let Some((ranks, _)) = order.enc().mask(&self.backend, 0.0)? else { return Ok(Grid::default()) };
        let input = Buffer::of(backend, &x)?;
        let paths = device::paths(backend, &self.enc, ranks, &self.b_enc, &input, &pairs, &cuts, together.as_ref())?;
        let paths = paths.to_vec(backend)?.as_chunks::<STEPS>().0.to_vec();
        let Activation::TopK { k, .. } = sae.activation else { return Ok(Grid { paths, last: Vec::new() }) };
        let mut last = vec![[None; STEPS]; x.dim(0)?];
        for (step, cut) in cuts.into_iter().enumerate() {
            let scale = scales.as_ref().map(|scales| upload(&scales[step])).transpose()?;
            for start in (0..last.len()).step_by(self.rows_at_once()) {
                let len = self.rows_at_once().min(last.len() - start);
                let dense = self.dense(&x.narrow(0, start, len)?, Some((ranks, cut)), scale.as_ref())?;
                let top = device::top_k(backend, &dense, sae.d_sae(), k)?;
                for (row, latent) in top.last.into_iter().enumerate() {
                    let candidate = |latent| -> Candidate { (latent, top.latents.get(row, latent)) };
                    last[start + row][step] = latent.map(candidate);
                }
            }
        }
        Ok(Grid { paths, last })
    }
}
