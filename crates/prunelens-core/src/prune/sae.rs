//! Pruning an SAE: the ranks of its weights by a criterion, and the SAE at a ratio.

use candle_core::Tensor;
use prunelens_kernels::{Group, Ranks, columns::add_squares, ranks, with_f32};

use super::norms::{InputNorm, OutputNorm};
use crate::{
    error::Result,
    model::Tick,
    sae::{Criterion, Dictionary, Encoded, Order, Pruning, Ranked, Sae, Side},
};

/// Norms that multiply |W_enc| and |W_dec|.
#[derive(Clone, Debug, PartialEq)]
pub struct Norms {
    /// One number a column of `|W_enc|`, or a row, whichever changes inside a group.
    pub enc: Vec<f32>,
    /// The same of `|W_dec|`.
    pub dec: Vec<f32>,
}

impl Norms {
    /// Numbers of each side, and the numbers themselves, with all their bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lengths = [self.enc.len(), self.dec.len()].into_iter().flat_map(|n| (n as u64).to_le_bytes());
        lengths.chain(self.enc.iter().chain(&self.dec).flat_map(|v| v.to_le_bytes())).collect()
    }

    /// What [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lengths, rest) = bytes.split_at_checked(16)?;
        let [enc, dec] = [&lengths[..8], &lengths[8..]].map(|n| u64::from_le_bytes(n.try_into().unwrap_or_default()));
        let (values, left) = rest.as_chunks::<4>();
        if !left.is_empty() || enc.checked_add(dec)? != values.len() as u64 {
            return None;
        }
        let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        let (enc, dec) = values.split_at(enc as usize);
        Some(Self { enc: enc.to_vec(), dec: dec.to_vec() })
    }

    /// Whether there are as many as a criterion needs of an SAE.
    pub fn fit(&self, criterion: Criterion, sae: &Sae) -> bool {
        let sizes = match criterion {
            Criterion::Paper => (sae.d_sae(), sae.d_in()),
            _ => (sae.d_in(), sae.d_sae()),
        };
        (self.enc.len(), self.dec.len()) == sizes
    }
}

/// Gathers the norms of one criterion, batch by batch, with the unpruned SAE.
pub enum Gather {
    /// Of what goes into each matrix.
    Wanda {
        /// Of activations.
        enc: InputNorm,
        /// Of latents.
        dec: InputNorm,
    },
    /// Of what comes out of each matrix.
    Paper {
        /// Of pre-activations.
        enc: OutputNorm,
        /// Of reconstructions.
        dec: OutputNorm,
    },
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
    pub fn add(&mut self, sae: &dyn Dictionary, x: &Tensor, encoded: &Encoded, sequences: usize) -> Result<()> {
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

    /// What was gathered so far.
    pub fn norms(&self) -> Norms {
        match self {
            Self::Wanda { enc, dec } => Norms { enc: enc.value(), dec: dec.value() },
            Self::Paper { enc, dec } => Norms { enc: enc.value(), dec: dec.value() },
        }
    }
}

/// Rank the weights, where the SAE is. `norms` are those that [`Gather`] gives for the criterion; they are not read otherwise.
pub fn rank(sae: &dyn Dictionary, criterion: Criterion, norms: Option<&Norms>, tick: Tick) -> Result<Order> {
    let (enc_group, dec_group) = match criterion {
        // The encoder's output is a latent (a row here), the decoder's a coordinate (a column).
        Criterion::Wanda | Criterion::Magnitude | Criterion::Random => (Group::Row, Group::Column),
        Criterion::Paper => (Group::Column, Group::Row),
    };
    let mut side = |side: Side, norm: Option<&[f32]>, group: Group| {
        tick()?;
        match criterion {
            Criterion::Random => {
                let (rows, cols) = (sae.d_sae(), sae.d_in());
                let ranks = ranks::ranks(rows, cols, group, |r, c| noise(side as u64 + 1, r * cols + c));
                Ok(Ranked::on_host(ranks, group.len(rows, cols)))
            }
            _ => sae.rank(side, norm, group),
        }
    };
    let enc = side(Side::Enc, norms.map(|n| n.enc.as_slice()), enc_group)?;
    let dec = side(Side::Dec, norms.map(|n| n.dec.as_slice()), dec_group)?;
    Ok(Order { criterion, enc, dec })
}

/// A fixed pseudo-random score between 0 and 1 (the finaliser of SplitMix64).
fn noise(salt: u64, at: usize) -> f32 {
    let mut z = (at as u64 ^ salt << 56).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
}

/// The pruned SAE with its zeros written out.
pub fn apply(pruning: &Pruning, sae: &Sae) -> Result<Sae> {
    let zeroed = |w: &Tensor, mask: (&Ranks, u32)| -> Result<Tensor> {
        let values = with_f32(w, |w| {
            let mut out = vec![0.0; w.len()];
            prunelens_kernels::encode::keep(w, Some(mask), 0..w.len(), &mut out);
            out
        })?;
        Ok(Tensor::from_vec(values, w.shape(), w.device())?)
    };
    let (w_enc, w_dec) = (zeroed(&sae.w_enc, pruning.enc()?)?, zeroed(&sae.w_dec, pruning.dec()?)?);
    Ok(Sae { w_enc, w_dec, ..sae.clone() })
}
