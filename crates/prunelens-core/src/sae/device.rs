//! An SAE in a GPU's memory: the latents, reconstructions and paths that the CPU gives.
//!
//! Weights and ranks stay there, and so do the latents that fire, until somebody asks for them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use prunelens_kernels::{
    Group,
    device::{self, Backend, Buffer, Encoder, Lists, Mask, Matrix, Pairs, Route, Steps, TextSums},
    encode::{Grid, STEPS},
    with_f32,
};

use super::{
    Activation, Dictionary, Encoded, Latents, Normalize, Order, Plan, Pruning, Ranked, Sae, Side, TextSum,
    normalize::Undo,
    share,
    text_sums::{by_lists, groups},
};
use crate::{error::Result, progress::Tick};

/// Dense latents that exist at a time, in values: 2,048 tokens of 131,072, whose weights are then masked once.
const DENSE: usize = 1 << 28;

/// An SAE with its weights on a GPU.
pub struct DeviceSae {
    /// As it was read.
    sae: Arc<Sae>,
    backend: Arc<dyn Backend>,
    enc: Matrix,
    dec: Matrix,
    /// The same two as tensors.
    weights: [Tensor; 2],
    b_enc: Buffer<f32>,
    b_dec: Buffer<f32>,
    /// Of a JumpReLU.
    floors: Option<Buffer<f32>>,
    /// Factors and biases of a gated SAE's magnitudes.
    magnitudes: Option<[Buffer<f32>; 2]>,
    /// What latents are divided by when decoding, where that is fixed.
    divisors: Option<Buffer<f32>>,
    /// Subtracted from what is encoded.
    shift: Option<Tensor>,
    /// The decoder's norms that were needed last, and at what: decoding needs those of the encoding before it.
    norms: Mutex<Option<(Norms, Arc<Buffer<f32>>)>>,
}

/// Of what norms are: an order, which may be gone by now, and a ratio of it; or nothing pruned.
type Norms = Option<(Weak<Order>, f64)>;

impl fmt::Debug for DeviceSae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSae").field("weights", &self.enc.values.name()).finish_non_exhaustive()
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
    /// Uploads the weights.
    pub fn new(backend: Arc<dyn Backend>, sae: Arc<Sae>) -> Result<Self> {
        let upload = |values: &[f32]| Buffer::from_slice(&*backend, values);
        let floors = match &sae.activation {
            Activation::JumpRelu { threshold } => Some(upload(threshold)?),
            _ => None,
        };
        let magnitudes = match &sae.activation {
            Activation::Gated { r_mag, b_mag } => {
                let factors: Vec<f32> = r_mag.iter().map(|r| r.exp()).collect();
                Some([upload(&factors)?, upload(b_mag)?])
            }
            _ => None,
        };
        let divisors = sae.decode_scale.as_ref().map(|scale| scale.iter().map(|v| 1.0 / v).collect::<Vec<f32>>());
        let shift = match sae.config.apply_b_dec_to_input {
            true => Some(Tensor::from_slice(&sae.b_dec, sae.d_in(), backend.device())?),
            false => None,
        };
        let weights = [exact(&sae.w_enc, &*backend)?, exact(&sae.w_dec, &*backend)?];
        Ok(Self {
            enc: Matrix::of(&*backend, &weights[0])?,
            dec: Matrix::of(&*backend, &weights[1])?,
            weights,
            b_enc: upload(&sae.b_enc)?,
            b_dec: upload(&sae.b_dec)?,
            floors,
            magnitudes,
            divisors: divisors.map(|divisors| upload(&divisors)).transpose()?,
            shift,
            norms: Mutex::default(),
            sae,
            backend,
        })
    }

    /// As [`Sae::process_input`], on the GPU.
    fn process_input(&self, x: &Tensor) -> Result<(Tensor, Undo)> {
        self.sae.check_width(x)?;
        let x = x.to_device(self.backend.device())?.to_dtype(DType::F32)?;
        let (x, undo) = match self.sae.config.normalize {
            Normalize::None => (x, Undo::default()),
            kind => {
                let [x, undo] = device::normalize(&*self.backend, &x.contiguous()?, kind == Normalize::LayerNorm)?;
                (x, Undo::on_device(undo))
            }
        };
        let x = match &self.shift {
            Some(shift) => x.broadcast_sub(shift)?,
            None => x,
        };
        Ok((x, undo))
    }

    fn rows_at_once(&self) -> usize {
        (DENSE / self.enc.rows.max(1)).max(1)
    }

    /// Latents, zero where they are silent, before TopK chooses among them.
    fn dense(&self, x: &Tensor, mask: Mask, scale: Option<&Buffer<f32>>) -> Result<Buffer<f32>> {
        let (backend, floors) = (&*self.backend, self.floors.as_ref());
        let encoder = Encoder { matrix: &self.enc, mask, bias: &self.b_enc, scale, floors };
        let latents = device::encode(backend, &encoder, x, Route::of(x.dim(0)?, &self.enc))?;
        match (&self.sae.activation, &self.magnitudes) {
            (Activation::TanhRelu, _) => device::squash(backend, &latents)?,
            (_, Some([factors, bias])) => device::magnitudes(backend, &latents, &self.b_enc, factors, bias)?,
            _ => {}
        }
        Ok(latents)
    }

    /// The mask of one of the matrices.
    fn mask<'a>(&self, side: Side, pruning: Option<&'a Pruning>) -> Result<Mask<'a>> {
        match pruning.map(|pruning| (pruning.order.plan(side), pruning.at)) {
            Some((Plan::Ranks(ranks), at)) => ranks.mask(&self.backend, at),
            _ => Ok(None),
        }
    }

    /// The SAE on the CPU, for the settings that have no kernel of their own here: all but ratios.
    fn elsewhere(&self, pruning: Option<&Pruning>) -> Option<&Sae> {
        pruning
            .filter(|pruning| !matches!(pruning.order.enc, Plan::Ranks(_)) && !pruning.is_untouched(&self.sae))
            .map(|_| &*self.sae)
    }

    /// As [`Sae::decoder_norms`].
    fn decoder_norms(&self, pruning: Option<&Pruning>) -> Result<Option<Arc<Buffer<f32>>>> {
        if !self.sae.activation.rescales() {
            return Ok(None);
        }
        let wanted: Norms = pruning.map(|pruning| (Arc::downgrade(&pruning.order), pruning.at));
        let same = |of: &Norms| match (of, &wanted) {
            (None, None) => true,
            (Some((a, at)), Some((b, wanted))) => a.ptr_eq(b) && at == wanted,
            _ => false,
        };
        let mut last = self.norms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, norms)) = &*last
            && same(of)
        {
            return Ok(Some(norms.clone()));
        }
        let norms = device::row_norms(&*self.backend, &self.dec, &[self.mask(Side::Dec, pruning)?])?;
        Ok(Some(last.insert((wanted, Arc::new(norms))).1.clone()))
    }

    /// Reconstructions on the GPU, still normalised.
    fn reconstruct(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        let norms = self.decoder_norms(pruning)?;
        let mask = self.mask(Side::Dec, pruning)?;
        let uploaded;
        let lists = match encoded.lists_on(&self.backend) {
            Some(lists) => lists,
            None => {
                uploaded = Lists::from_latents(&*self.backend, encoded.latents()?)?;
                &uploaded
            }
        };
        let divisors = norms.as_deref().or(self.divisors.as_ref());
        let out = device::decode(&*self.backend, lists, &self.dec, mask, &self.b_dec, divisors)?;
        out.into_tensor(&*self.backend, &[encoded.rows(), self.sae.d_in()])
    }
}

impl Dictionary for DeviceSae {
    fn sae(&self) -> &Sae {
        &self.sae
    }

    fn device(&self) -> &Device {
        self.backend.device()
    }

    fn bytes_on_device(&self) -> u64 {
        [&self.enc, &self.dec].iter().map(|matrix| (matrix.values.width() * matrix.values.len()) as u64).sum()
    }

    fn encode(&self, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded> {
        if let Some(sae) = self.elsewhere(pruning) {
            return sae.encode(x, pruning);
        }
        let (x, undo) = self.process_input(x)?;
        let norms = self.decoder_norms(pruning)?;
        let d_sae = self.sae.d_sae();
        let mut lists = Vec::new();
        for start in (0..x.dim(0)?).step_by(self.rows_at_once()) {
            let part = x.narrow(0, start, self.rows_at_once().min(x.dim(0)? - start))?;
            let dense = self.dense(&part, self.mask(Side::Enc, pruning)?, norms.as_deref())?;
            lists.push(match self.sae.activation {
                Activation::TopK { k, .. } => device::top_k(&*self.backend, &dense, d_sae, k)?,
                _ => device::active(&*self.backend, &dense, d_sae)?,
            });
        }
        // What decodes next finds them there, if the GPU had all at once.
        let lists = match <[_; 1]>::try_from(lists) {
            Ok([lists]) => return Ok(Encoded::there(self.backend.clone(), lists, undo)),
            Err(lists) => lists,
        };
        let mut latents = Latents::new(d_sae);
        for lists in lists {
            latents.extend(&lists.to_latents(&*self.backend)?);
        }
        Ok(Encoded::new(latents, undo))
    }

    /// Some texts at a time, whose latents are summed up as they are found: what comes back is a row a text.
    fn text_sums(
        &self,
        x: &Tensor,
        pruning: Option<&Pruning>,
        texts: &[TextSum],
        tick: Tick,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        if self.elsewhere(pruning).is_some() {
            return by_lists(self, x, pruning, texts, tick);
        }
        let (backend, d_in, d_sae) = (&*self.backend, self.sae.d_in(), self.sae.d_sae());
        let norms = self.decoder_norms(pruning)?;
        let latents = |x: &Tensor| -> Result<(Buffer<f32>, Undo)> {
            let (x, undo) = self.process_input(x)?;
            let dense = self.dense(&x, self.mask(Side::Enc, pruning)?, norms.as_deref())?;
            Ok(match self.sae.activation {
                Activation::TopK { k, .. } => (device::keep_top_k(backend, &dense, d_sae, k)?, undo),
                _ => (dense, undo),
            })
        };
        let zeros = match texts.iter().any(|text| text.zeros > 0) {
            true => Some(latents(&Tensor::zeros((1, d_in), DType::F32, x.device())?)?),
            false => None,
        };
        let mut found = Vec::with_capacity(texts.len());
        // A choice is written out beside what it was made of.
        let room = self.rows_at_once() / if matches!(self.sae.activation, Activation::TopK { .. }) { 2 } else { 1 };
        let mut start = 0;
        for group in groups(texts, room) {
            let lengths: Vec<usize> = group.iter().map(|text| text.tokens).collect();
            let len: usize = lengths.iter().sum();
            if len == 0 || len > room {
                found.extend(by_lists(self, &x.narrow(0, start, len)?, pruning, group, tick)?);
                start += len;
                continue;
            }
            let (dense, undo) = latents(&x.narrow(0, start, len)?)?;
            let of_tokens = group.iter().flat_map(|text| std::iter::repeat_n(text, text.tokens));
            let undo = undo.factors()?;
            let factors: Vec<f64> = of_tokens.zip(0..).map(|(text, token)| text.factor(undo.of(token))).collect();
            let extra = match &zeros {
                Some((_, undo)) => {
                    let undo = undo.factors()?.of(0);
                    Some(group.iter().map(|text| text.zeros as f64 * text.factor(undo)).collect::<Vec<f64>>())
                }
                None => None,
            };
            let divisors: Vec<f64> = group.iter().map(|text| text.divisor).collect();
            let zeros = zeros.as_ref().map(|(zeros, _)| zeros).zip(extra.as_deref());
            let sums = TextSums { lengths: &lengths, factors: &factors, zeros, divisors: &divisors };
            let sums = device::active(backend, &device::text_sums(backend, &dense, d_sae, &sums)?, d_sae)?;
            let sums = sums.to_latents(backend)?;
            found.extend((0..group.len()).map(|row| {
                let (indices, values) = sums.row(row);
                indices.iter().copied().zip(values.iter().copied()).collect()
            }));
            start += len;
            tick()?;
        }
        Ok(found)
    }

    /// Some latents at a time, by the library's matrix product.
    fn pre_activation_squares(&self, x: &Tensor) -> Result<Vec<f64>> {
        let (x, _) = self.process_input(x)?;
        let (backend, n, d_sae) = (&*self.backend, x.dim(0)?.max(1), self.sae.d_sae());
        // Weights in f32 lie beside them.
        let step = (DENSE / 2 / n.max(self.sae.d_in())).max(1);
        let mut squares = Vec::with_capacity(d_sae);
        for first in (0..d_sae).step_by(step) {
            let latents = first..(first + step).min(d_sae);
            let weight = device::mask(backend, &self.enc, None, latents.clone())?;
            let weight = weight.into_tensor(backend, &[latents.len(), self.sae.d_in()])?.to_dtype(DType::F32)?;
            let upload = |values: &[f32]| Tensor::from_slice(&values[latents.clone()], latents.len(), backend.device());
            let products = x.matmul(&weight.t()?)?;
            let pre = match &self.sae.activation {
                Activation::Gated { r_mag, b_mag } => {
                    products.broadcast_mul(&upload(r_mag)?.exp()?)?.broadcast_add(&upload(b_mag)?)?
                }
                _ => products.broadcast_add(&upload(&self.sae.b_enc)?)?,
            };
            squares.extend(device::column_squares(backend, &pre)?);
        }
        Ok(squares)
    }

    fn grid(&self, order: &Arc<Order>, x: &Tensor, wanted: &Latents) -> Result<Grid> {
        let (Plan::Ranks(enc), Plan::Ranks(dec)) = (&order.enc, &order.dec) else {
            return self.sae.grid(order, x, wanted);
        };
        let (x, _) = self.process_input(x)?;
        let backend = &*self.backend;
        let cuts: [u32; STEPS] = std::array::from_fn(|step| enc.cut(share(step)));
        let scales = match self.sae.activation.rescales() {
            true => {
                let masks = (0..STEPS).map(|step| dec.mask(&self.backend, share(step)));
                Some(device::row_norms(backend, &self.dec, &masks.collect::<Result<Vec<_>>>()?)?)
            }
            false => None,
        };
        let pairs = Pairs::new(backend, wanted)?;
        // The cut is another at each step: all ranks are read.
        let Some((ranks, _)) = enc.mask(&self.backend, 0.0)? else { return Ok(Grid::default()) };
        let scales = scales.as_ref();
        let steps = Steps { matrix: &self.enc, ranks, bias: &self.b_enc, cuts: &cuts, scales };
        let paths = device::paths(backend, &steps, &Buffer::of(backend, &x)?, &pairs)?;
        let paths = paths.to_vec(backend)?.as_chunks::<STEPS>().0.to_vec();
        let last = match self.sae.activation {
            Activation::TopK { k, .. } => device::last_of_steps(backend, &steps, &x, k)?,
            _ => Vec::new(),
        };
        Ok(Grid { paths, last })
    }

    fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        if let Some(sae) = self.elsewhere(pruning) {
            return Ok(sae.decode(encoded, pruning)?.to_device(self.backend.device())?);
        }
        encoded.undo().apply_tensor(&self.reconstruct(encoded, pruning)?)
    }

    fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>> {
        if let Some(sae) = self.elsewhere(pruning) {
            return sae.decode_normalised(encoded, pruning);
        }
        with_f32(&self.reconstruct(encoded, pruning)?, <[f32]>::to_vec)
    }

    fn decode_vjp(&self, encoded: &Encoded, pruning: Option<&Pruning>, g: &Tensor) -> Result<Vec<f32>> {
        if let Some(sae) = self.elsewhere(pruning) {
            return sae.decode_vjp(encoded, pruning, g);
        }
        let (norms, latents) = (self.decoder_norms(pruning)?, encoded.latents()?);
        let divisors = norms.as_deref().or(self.divisors.as_ref());
        let mask = self.mask(Side::Dec, pruning)?;
        let mut slopes = device::decode_vjp(&*self.backend, latents, &self.dec, mask, divisors, g)?;
        let undo = encoded.undo().factors()?;
        for row in 0..latents.rows() {
            let factor = undo.of(row);
            slopes[latents.offsets[row]..latents.offsets[row + 1]].iter_mut().for_each(|slope| *slope *= factor);
        }
        Ok(slopes)
    }

    fn pruned(&self, pruning: Option<&Pruning>) -> Result<Sae> {
        if let Some(sae) = self.elsewhere(pruning) {
            return sae.pruned(pruning);
        }
        let matrix = |side: Side, matrix: &Matrix, whole: &Tensor| -> Result<Tensor> {
            let Some(mask) = self.mask(side, pruning)? else { return Ok(whole.clone()) };
            let kept = device::mask(&*self.backend, matrix, Some(mask), 0..matrix.rows)?;
            kept.into_tensor(&*self.backend, &[matrix.rows, matrix.columns])
        };
        let [w_enc, w_dec] = &self.weights;
        let (w_enc, w_dec) = (matrix(Side::Enc, &self.enc, w_enc)?, matrix(Side::Dec, &self.dec, w_dec)?);
        Ok(Sae { w_enc, w_dec, ..Sae::clone(&self.sae) })
    }

    fn rank(&self, side: Side, norm: Option<&[f32]>, group: Group) -> Result<Ranked> {
        let (rows, cols) = (self.sae.d_sae(), self.sae.d_in());
        let matrix = if side == Side::Enc { &self.enc } else { &self.dec };
        let norm = norm.map(|norm| Buffer::from_slice(&*self.backend, norm)).transpose()?;
        let ranks = device::ranks(&*self.backend, &matrix.values, (rows, cols), group, norm.as_ref())?;
        Ok(Ranked::on_device(self.backend.clone(), ranks, group.len(rows, cols)))
    }
}
