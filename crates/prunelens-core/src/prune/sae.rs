//! Pruning an SAE: the ranks of its weights by a criterion, and the SAE at a ratio.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_kernels::{
    device::{self, Buffer},
    ranks, with_f32,
};

use super::{
    Criterion, Group, Ranked, Ranks,
    norms::{InputNorm, OutputNorm, add_squares},
};
use crate::{
    error::Result,
    model::Tick,
    sae::{Encoded, Sae},
};

/// Norms that multiply |W_enc| and |W_dec|.
#[derive(Clone, Debug, PartialEq)]
pub struct Norms {
    pub enc: Vec<f32>,
    pub dec: Vec<f32>,
}

/// Gathers the norms of one criterion, batch by batch, with the unpruned SAE.
pub enum Gather {
    Wanda { enc: InputNorm, dec: InputNorm },
    Paper { enc: OutputNorm, dec: OutputNorm },
}

impl Gather {
    /// `None` for criteria that need no calibration.
    pub fn new(criterion: Criterion, sae: &Sae) -> Option<Self> {
        match criterion {
            Criterion::Wanda => Some(Self::Wanda { enc: InputNorm::new(sae.d_in()), dec: InputNorm::new(sae.d_sae()) }),
            Criterion::Paper => {
                Some(Self::Paper { enc: OutputNorm::new(sae.d_sae()), dec: OutputNorm::new(sae.d_in()) })
            }
            Criterion::Magnitude | Criterion::Random => None,
        }
    }

    /// One batch of `sequences` token rows: activations `[positions, d_in]` in the SAE's space, and their latents.
    pub fn add(&mut self, sae: &Sae, x: &Tensor, encoded: &Encoded, sequences: usize) -> Result<()> {
        match self {
            Self::Wanda { enc, dec } => {
                enc.add(&sae.process_input(x)?.0, sequences);
                let latents = &encoded.latents;
                latents.indices.iter().zip(&latents.values).for_each(|(i, v)| dec.add_one(*i as usize, *v));
                dec.add_sequences(sequences);
            }
            Self::Paper { enc, dec } => {
                enc.add(&sae.pre_activation_squares(x)?);
                let mut squares = vec![0.0; sae.d_in()];
                add_squares(&mut squares, &sae.decode_normalised(encoded, None)?);
                dec.add(&squares);
            }
        }
        Ok(())
    }

    pub fn norms(&self) -> Norms {
        match self {
            Self::Wanda { enc, dec } => Norms { enc: enc.value(), dec: dec.value() },
            Self::Paper { enc, dec } => Norms { enc: enc.value(), dec: dec.value() },
        }
    }
}

/// Ranks of an SAE's weights by one criterion. Made once; every ratio is a comparison against them.
#[derive(Debug)]
pub struct Order {
    pub criterion: Criterion,
    enc: Ranked,
    dec: Ranked,
}

/// Ratio of step `step` of [`STEPS`](prunelens_kernels::encode::STEPS).
pub fn grid_ratio(step: usize) -> f64 {
    step as f64 / prunelens_kernels::encode::STEPS as f64
}

impl Order {
    /// Rank the weights, on the SAE's card if it has one. `norms` are those that [`Gather`] gives for the criterion; they
    /// are not read otherwise.
    pub fn new(sae: &Sae, criterion: Criterion, norms: Option<&Norms>, tick: Tick) -> Result<Self> {
        let (enc_group, dec_group) = match criterion {
            // The encoder's output is a latent (a row here), the decoder's a coordinate (a column).
            Criterion::Wanda | Criterion::Magnitude | Criterion::Random => (Group::Row, Group::Column),
            Criterion::Paper => (Group::Column, Group::Row),
        };
        tick()?;
        let enc = rank(sae, Side::Enc, criterion, norms.map(|n| n.enc.as_slice()), enc_group)?;
        tick()?;
        let dec = rank(sae, Side::Dec, criterion, norms.map(|n| n.dec.as_slice()), dec_group)?;
        Ok(Self { criterion, enc, dec })
    }

    pub fn enc(&self) -> &Ranked {
        &self.enc
    }

    pub fn dec(&self) -> &Ranked {
        &self.dec
    }

    pub fn bytes(&self) -> u64 {
        self.enc.bytes() + self.dec.bytes()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Enc,
    Dec,
}

fn rank(sae: &Sae, side: Side, criterion: Criterion, norm: Option<&[f32]>, group: Group) -> Result<Ranked> {
    let (rows, cols) = (sae.d_sae(), sae.d_in());
    let len = group.len(rows, cols);
    if let Some(there) = sae.backend.as_ref().filter(|_| criterion != Criterion::Random) {
        let backend = there.backend();
        let matrix = if side == Side::Enc { there.w_enc() } else { there.w_dec() };
        let norm = norm.map(|norm| Buffer::from_slice(&**backend, norm)).transpose()?;
        let ranks = device::ranks(&**backend, &matrix.values, (rows, cols), group, norm.as_ref())?;
        return Ok(Ranked::to_device(backend.clone(), ranks, len));
    }
    let w = if side == Side::Enc { &sae.w_enc } else { &sae.w_dec };
    let ranks = with_f32(w, |w| match (criterion, norm, group) {
        (Criterion::Random, ..) => {
            let salt = if side == Side::Enc { 1 } else { 2 };
            ranks::ranks(rows, cols, group, |r, c| noise(salt, r * cols + c))
        }
        (_, None, _) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs()),
        // A norm belongs to whatever changes inside a group.
        (_, Some(n), Group::Row) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs() * n[c]),
        (_, Some(n), Group::Column) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs() * n[r]),
    })?;
    Ok(Ranked::on_host(ranks, len))
}

/// A fixed pseudo-random score between 0 and 1 (the finaliser of SplitMix64).
fn noise(salt: u64, at: usize) -> f32 {
    let mut z = (at as u64 ^ salt << 56).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
}

/// An order at a ratio.
#[derive(Clone, Debug)]
pub struct Pruning {
    pub order: Arc<Order>,
    pub ratio: f64,
}

impl Pruning {
    /// Ranks of `W_enc` and the cut that they must reach.
    pub fn enc(&self) -> Result<(&Ranks, u32)> {
        Ok((self.order.enc.host()?, self.order.enc.cut(self.ratio)))
    }

    pub fn dec(&self) -> Result<(&Ranks, u32)> {
        Ok((self.order.dec.host()?, self.order.dec.cut(self.ratio)))
    }

    /// The pruned SAE with its zeros written out.
    pub fn apply(&self, sae: &Sae) -> Result<Sae> {
        let zeroed = |w: &Tensor, mask: (&Ranks, u32)| -> Result<Tensor> {
            let values = with_f32(w, |w| {
                let mut out = vec![0.0; w.len()];
                prunelens_kernels::encode::keep(w, Some(mask), 0..w.len(), &mut out);
                out
            })?;
            Ok(Tensor::from_vec(values, w.shape(), w.device())?)
        };
        let mut pruned = Sae { backend: None, ..sae.clone() };
        pruned.w_enc = zeroed(&sae.w_enc, self.enc()?)?;
        pruned.w_dec = zeroed(&sae.w_dec, self.dec()?)?;
        Ok(pruned)
    }
}
