//! An SAE made smaller: what is found out of its weights once, and the setting of the knob that it is then used at.

use std::{ops::Range, sync::Arc};

use candle_core::Tensor;
use prunelens_kernels::{
    Kept, Ranking, cut,
    kept::{keep, largest},
    with_f32,
};

use super::{Knob, Ranked, Sae, Scale, Setting, Side, factors::Factors};
use crate::error::Result;

/// What a knob needs to know of an SAE's weights. Made once; every setting is then made from the untouched weights.
#[derive(Debug)]
pub struct Order {
    /// Whose.
    pub knob: Knob,
    /// Of `W_enc [d_sae, d_in]`.
    pub enc: Plan,
    /// Of `W_dec [d_sae, d_in]`.
    pub dec: Plan,
}

/// What a knob needs to know of one matrix.
#[derive(Debug)]
pub enum Plan {
    /// Each weight's rank in its group: a weight is kept iff its rank reaches the cut.
    Ranks(Ranked),
    /// The largest magnitude of each row: codes of any number of bits follow from it.
    Largest(Vec<f32>),
    /// The matrix in the basis of its singular vectors: a rank keeps the first columns.
    Factors(Factors),
    /// Each latent's rank among all: a latent is kept iff its rank reaches the cut.
    Latents(Arc<Vec<u32>>),
}

impl Plan {
    /// The largest magnitudes of a matrix's rows.
    pub fn largest(weight: &Tensor) -> Result<Self> {
        let width = weight.dim(1)?;
        Ok(Self::Largest(with_f32(weight, |w| largest(w, width))?))
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Ranks(ranks) => ranks.bytes(),
            Self::Largest(largest) => 4 * largest.len() as u64,
            Self::Factors(factors) => factors.bytes(),
            Self::Latents(ranks) => 4 * ranks.len() as u64,
        }
    }

    /// The rank that must be reached at a setting, where there are ranks: of weights, of directions, of latents.
    pub fn cut(&self, at: f64) -> u32 {
        match self {
            Self::Ranks(ranks) => ranks.cut(at),
            Self::Largest(_) => 0,
            Self::Factors(factors) => (factors.width() as f64 - at).max(0.0) as u32,
            Self::Latents(ranks) => cut(ranks.len(), at),
        }
    }

    /// In which order weights go, where they do.
    pub fn ranking(&self, width: usize) -> Result<Option<Ranking<'_>>> {
        Ok(match self {
            Self::Ranks(ranks) => Some(Ranking::Each(ranks.host()?)),
            Self::Largest(_) => None,
            Self::Factors(_) => Some(Ranking::Columns(width)),
            Self::Latents(ranks) => Some(Ranking::Rows(ranks, width)),
        })
    }
}

impl Order {
    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.enc.bytes() + self.dec.bytes()
    }

    /// Of one of the matrices.
    pub fn plan(&self, side: Side) -> &Plan {
        match side {
            Side::Enc => &self.enc,
            Side::Dec => &self.dec,
        }
    }
}

/// An order at a setting of its knob.
#[derive(Clone, Debug)]
pub struct Pruning {
    /// What was found once.
    pub order: Arc<Order>,
    /// In the knob's units.
    pub at: f64,
}

impl Pruning {
    /// Knob and value.
    pub fn setting(&self) -> Setting {
        self.order.knob.at(self.at)
    }

    /// Nothing of the SAE is changed.
    pub fn is_untouched(&self, sae: &Sae) -> bool {
        self.scale(sae).is_untouched(self.at)
    }

    /// Of the SAE that is pruned.
    pub fn scale(&self, sae: &Sae) -> Scale {
        self.order.knob.scale(sae.d_in())
    }
}

/// One of an SAE's matrices at a setting.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// `[d_sae, d_in]`, in the basis if there is one.
    pub weight: &'a [f32],
    /// What is left of it.
    pub kept: Kept<'a>,
    /// What turns inputs and outputs, and the rank.
    pub basis: Option<(&'a Factors, usize)>,
    width: usize,
}

impl Matrix<'_> {
    /// A latent's weights as they count, in the SAE's own coordinates.
    pub fn row(&self, latent: usize, out: &mut [f32]) {
        match self.basis {
            None => keep(self.weight, self.kept, self.range(latent), out),
            Some((factors, rank)) => factors.row(&self.weight[self.range(latent)], rank, out),
        }
    }

    /// The norm of these weights.
    pub fn norm(&self, latent: usize, room: &mut [f32]) -> f32 {
        // A turned row is as long as it was.
        keep(self.weight, self.kept, self.range(latent), room);
        room.iter().map(|v| v * v).sum::<f32>().sqrt()
    }

    fn range(&self, latent: usize) -> Range<usize> {
        latent * self.width..(latent + 1) * self.width
    }
}

impl Sae {
    /// Run with one of the matrices as a setting leaves it.
    pub fn matrix<R>(&self, side: Side, pruning: Option<&Pruning>, run: impl FnOnce(Matrix) -> R) -> Result<R> {
        let tensor = match side {
            Side::Enc => &self.w_enc,
            Side::Dec => &self.w_dec,
        };
        let width = self.d_in();
        let Some(pruning) = pruning.filter(|pruning| !pruning.is_untouched(self)) else {
            return with_f32(tensor, |weight| run(Matrix { weight, kept: Kept::All, basis: None, width }));
        };
        let plan = pruning.order.plan(side);
        if let Plan::Factors(factors) = plan {
            let kept = Kept::From(Ranking::Columns(width), plan.cut(pruning.at));
            let basis = Some((factors, pruning.at as usize));
            return Ok(run(Matrix { weight: &factors.scores, kept, basis, width }));
        }
        let kept = match (plan, plan.ranking(width)?) {
            (Plan::Largest(largest), _) => Kept::Codes { largest, width, bits: pruning.at as u32 },
            (_, Some(ranking)) => Kept::From(ranking, plan.cut(pruning.at)),
            (_, None) => Kept::All,
        };
        with_f32(tensor, |weight| run(Matrix { weight, kept, basis: None, width }))
    }

    /// A latent's row of one of the matrices as a setting leaves it.
    pub fn row(&self, side: Side, pruning: Option<&Pruning>, latent: u32) -> Result<Vec<f32>> {
        let mut row = vec![0.0; self.d_in()];
        if let Some(Pruning { order, at }) = pruning
            && let Plan::Ranks(ranks) = order.plan(side)
        {
            // All others may lie on a GPU.
            self.matrix(side, None, |matrix| matrix.row(latent as usize, &mut row))?;
            let first = latent as usize * self.d_in();
            let ranks_of_row = ranks.part(first..first + self.d_in())?;
            let gone = row.iter_mut().zip(ranks_of_row).filter(|(_, rank)| *rank < ranks.cut(*at));
            gone.for_each(|(weight, _)| *weight = 0.0);
            return Ok(row);
        }
        self.matrix(side, pruning, |matrix| matrix.row(latent as usize, &mut row))?;
        Ok(row)
    }
}
