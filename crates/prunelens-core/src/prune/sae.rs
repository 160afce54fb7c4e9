//! An SAE compressed as its model was: what each knob needs to know of its weights, and the SAE at a setting.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_kernels::{Group, columns::add_squares, ranks};

use super::norms::{InputNorm, OutputNorm};
use crate::{
    error::Result,
    progress::Tick,
    sae::{Criterion, Dictionary, Encoded, Factors, Knob, Order, Plan, Ranked, Sae, Side},
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
                let latents = encoded.latents()?;
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

/// What a knob needs to know of an SAE. `norms` are those that [`Gather`] gives for its criterion; `basis` is what was kept
/// of an earlier [`Order`] of ranks.
pub fn order(
    sae: &dyn Dictionary,
    knob: Knob,
    norms: Option<&Norms>,
    basis: Option<[Vec<f32>; 2]>,
    tick: Tick,
) -> Result<Order> {
    let (enc, dec) = match knob {
        Knob::Ratio(criterion) => return rank(sae, criterion, norms, tick),
        Knob::Bits => (Plan::largest(&sae.w_enc)?, Plan::largest(&sae.w_dec)?),
        Knob::Rank => {
            let [enc, dec] = match basis {
                Some(basis) => basis,
                None => [Factors::basis(&sae.w_enc, tick)?, Factors::basis(&sae.w_dec, tick)?],
            };
            let plan = |w: &Tensor, basis| Factors::new(w, basis).map(Plan::Factors);
            (plan(&sae.w_enc, enc)?, plan(&sae.w_dec, dec)?)
        }
        Knob::Latents(criterion) => {
            let ranks = Arc::new(latent_ranks(sae, criterion, norms)?);
            (Plan::Latents(ranks.clone()), Plan::Latents(ranks))
        }
    };
    Ok(Order { knob, enc, dec })
}

/// Each latent's rank by its importance, the least important first, the lower index first among equals. With `|j|` the norm of
/// its row: `wanda` is what it writes (the norm of its activation times `|W_dec_j|`), `paper` what it reads (the norm of its
/// pre-activation times `|W_enc_j|`), `magnitude` `|W_enc_j| |W_dec_j|`; each is its matrix criterion with the weights of a
/// latent taken together.
fn latent_ranks(sae: &Sae, criterion: Criterion, norms: Option<&Norms>) -> Result<Vec<u32>> {
    let d_sae = sae.d_sae();
    let lengths = |side: Side| {
        sae.matrix(side, None, |matrix| {
            let mut room = vec![0.0; sae.d_in()];
            (0..d_sae).map(|latent| matrix.norm(latent, &mut room)).collect::<Vec<f32>>()
        })
    };
    let scores: Vec<f32> = match (criterion, norms) {
        (Criterion::Wanda, Some(norms)) => product(&norms.dec, &lengths(Side::Dec)?),
        (Criterion::Paper, Some(norms)) => product(&norms.enc, &lengths(Side::Enc)?),
        (Criterion::Random, _) => (0..d_sae).map(|latent| noise(3, latent)).collect(),
        _ => product(&lengths(Side::Enc)?, &lengths(Side::Dec)?),
    };
    let ranks = ranks::ranks(1, d_sae, Group::Row, |_, latent| scores[latent]);
    Ok((0..d_sae).map(|latent| ranks.get(latent)).collect())
}

fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
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
    Ok(Order { knob: Knob::Ratio(criterion), enc: Plan::Ranks(enc), dec: Plan::Ranks(dec) })
}

/// A fixed pseudo-random score between 0 and 1 (the finaliser of SplitMix64).
fn noise(salt: u64, at: usize) -> f32 {
    let mut z = (at as u64 ^ salt << 56).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
}
