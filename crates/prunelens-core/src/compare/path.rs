//! The path of a latent: its activation as a function of the knob, exact because every setting is made from the untouched
//! weights: weights, directions and latents go in the order of their ranks, and codes are rounded anew.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_kernels::{
    encode::Grid,
    select::{Candidate, by_value},
    with_f32,
};

use super::{Curve, GRID, Paths};
use crate::{
    error::Result,
    progress::Tick,
    sae::{Activation, Dictionary, Latents, Order, Plan, Pruning, Sae, Scale, Side, share},
};

/// Pre-activations of the prompt's active latents at every setting, and (for TopK) who was the last to be chosen.
pub struct PathGrid {
    grid: Grid,
    /// The latents that fire with the SAE untouched.
    active: Latents,
    scale: Scale,
    /// Settings of a curve, and the places among them of those that paths have.
    fine: Vec<f64>,
    coarse: Vec<usize>,
}

impl PathGrid {
    /// For activations `x [n, d_in]` in the SAE's space and the latents that the unpruned SAE finds there.
    pub fn new(sae: &dyn Dictionary, order: &Arc<Order>, x: &Tensor, active: &Latents) -> Result<Self> {
        let grid = sae.grid(order, x, active)?;
        let scale = order.knob.scale(sae.d_in());
        Ok(Self { grid, active: active.clone(), scale, fine: scale.fine(), coarse: scale.coarse() })
    }

    /// Activation of one (token, latent) pair at a step of the curve.
    fn value(&self, sae: &Sae, token: usize, latent: u32, pre: f32, step: usize) -> f32 {
        let value = sae.activation.value(latent as usize, pre, &sae.b_enc);
        let last = self.grid.last.get(token).and_then(|last| last[step]);
        if value > 0.0 && chosen((latent, pre), last) { value } else { 0.0 }
    }

    /// The values at the grid's settings, of those at all settings of a curve.
    fn path(&self, value: impl Fn(usize) -> f32) -> [f32; GRID] {
        std::array::from_fn(|at| self.coarse.get(at).map_or(0.0, |step| value(*step)))
    }

    /// Paths and survival on the grid; tokens for which `counts` is false are left out of the survival.
    pub fn paths(&self, sae: &Sae, counts: &[bool]) -> Paths {
        let mut alive = vec![0_usize; self.coarse.len()];
        let mut total = 0;
        let rows = (0..self.active.rows())
            .map(|token| {
                let start = self.active.offsets[token];
                let (latents, values) = self.active.row(token);
                let row: Vec<_> = (latents.iter().zip(values).zip(start..))
                    .map(|((latent, value), at)| {
                        let at_step = |step: usize| self.value(sae, token, *latent, self.grid.paths[at][step], step);
                        let mut path = self.path(at_step);
                        // What the encoder itself said; the grid sums the same terms in another order.
                        path[0] = *value;
                        (*latent, path)
                    })
                    .collect();
                if counts[token] {
                    total += row.len();
                    for (_, path) in &row {
                        alive.iter_mut().zip(path).for_each(|(n, v)| *n += usize::from(*v > 0.0));
                    }
                }
                row
            })
            .collect();
        let survival = alive.iter().map(|n| if total == 0 { 0.0 } else { *n as f64 / total as f64 }).collect();
        Paths { knob: self.scale.knob, grid: self.scale.grid(), survival, active: total, rows }
    }

    /// Paths on the grid of `(token, latent)` pairs that were silent in the untouched SAE.
    pub fn late(
        &self,
        sae: &Sae,
        order: &Arc<Order>,
        x: &Tensor,
        pairs: &[(usize, u32)],
        tick: Tick,
    ) -> Result<Vec<[f32; GRID]>> {
        let (input, _) = sae.process_input(x)?;
        let path = |(token, latent): (usize, u32)| {
            tick()?;
            let of = OfLatent::new(sae, order, &input[token * sae.d_in()..][..sae.d_in()], latent)?;
            let curve = self.walk(&of, token)?;
            Ok(self.path(|step| curve[step].1))
        };
        pairs.iter().copied().map(path).collect()
    }

    /// One latent on one token at every setting of the curve, and the setting from which it stays silent. Where weights go one
    /// by one and the activation depends on the latent alone that is exact to the last weight; a TopK SAE's choice among
    /// latents is known at the settings of the curve.
    pub fn curve(&self, sae: &Sae, order: &Arc<Order>, x: &Tensor, token: usize, latent: u32) -> Result<Curve> {
        let (input, _) = sae.process_input(&x.narrow(0, token, 1)?)?;
        let of = OfLatent::new(sae, order, &input, latent)?;
        let curve = self.walk(&of, token)?;
        let last_alive = curve.iter().rposition(|(_, v)| *v > 0.0);
        let dies_at = match last_alive {
            None => None,
            Some(step) if step + 1 == curve.len() => None,
            Some(step) => Some(self.death(&of, step)),
        };
        Ok((curve, dies_at))
    }

    /// The activation at every setting of the curve.
    fn walk(&self, of: &OfLatent, token: usize) -> Result<Vec<(f64, f32)>> {
        let at_step = |(step, at): (usize, &f64)| {
            let pre = of.pre(*at)? * of.rescale(*at)?;
            Ok((*at, self.value(of.sae, token, of.latent, pre, step)))
        };
        self.fine.iter().enumerate().map(at_step).collect()
    }

    /// Between the last step at which a latent fires and the next: the setting at which its activation ends, if that is its
    /// own doing, else the next step.
    fn death(&self, of: &OfLatent, step: usize) -> f64 {
        let next = self.fine[step + 1];
        let Some(terms) = &of.terms else { return next };
        if matches!(of.sae.activation, Activation::TopK { .. }) {
            return next;
        }
        let [from, to] = [step, step + 1].map(|step| of.order.enc.cut(self.fine[step]));
        let dead = |cut: u32| of.sae.activation.value(of.latent as usize, terms.left(cut), &of.sae.b_enc) == 0.0;
        // The last cut in between at which it still fires, plus one.
        let cut = (from..to).rev().find(|cut| !dead(*cut)).map_or(to, |cut| cut + 1);
        match &of.order.enc {
            // A cut is a rank of its own.
            Plan::Factors(factors) => factors.width() as f64 - f64::from(cut),
            _ => share(step) + (share(step + 1) - share(step)) * f64::from(cut - from) / f64::from((to - from).max(1)),
        }
    }
}

/// One latent on one token, at any setting.
struct OfLatent<'a> {
    sae: &'a Sae,
    order: &'a Arc<Order>,
    latent: u32,
    input: &'a [f32],
    /// The terms of its pre-activation, where they go one by one.
    terms: Option<Terms>,
}

impl<'a> OfLatent<'a> {
    /// Of a latent on a token's processed `input [d_in]`.
    fn new(sae: &'a Sae, order: &'a Arc<Order>, input: &'a [f32], latent: u32) -> Result<Self> {
        let d = sae.d_in();
        let first = latent as usize * d;
        let row = first..first + d;
        let bias = sae.b_enc[latent as usize];
        let terms = match &order.enc {
            Plan::Ranks(ranks) => {
                let ranks = ranks.part(row.clone())?;
                Some(with_f32(&sae.w_enc, |w| Terms::new(&w[row], input, ranks, bias))?)
            }
            Plan::Factors(factors) => {
                let ranks = (0..d as u32).rev().collect();
                Some(Terms::new(&factors.scores[row], &factors.turn(input, d), ranks, bias))
            }
            Plan::Largest(_) | Plan::Latents(_) => None,
        };
        Ok(Self { sae, order, latent, input, terms })
    }

    fn at(&self, at: f64) -> Pruning {
        Pruning { order: self.order.clone(), at }
    }

    /// The pre-activation at a setting, before it is rescaled.
    fn pre(&self, at: f64) -> Result<f32> {
        if let Some(terms) = &self.terms {
            return Ok(terms.left(self.order.enc.cut(at)));
        }
        let latent = self.latent as usize;
        self.sae.matrix(Side::Enc, Some(&self.at(at)), |matrix| {
            if matrix.kept.drops(latent) {
                return f32::NEG_INFINITY;
            }
            let mut row = vec![0.0; self.input.len()];
            matrix.row(latent, &mut row);
            row.iter().zip(self.input).map(|(w, x)| w * x).sum::<f32>() + self.sae.b_enc[latent]
        })
    }

    /// What it is multiplied by, for the SAEs that rescale by the norms of decoder rows.
    fn rescale(&self, at: f64) -> Result<f32> {
        if !self.sae.activation.rescales() {
            return Ok(1.0);
        }
        let mut room = vec![0.0; self.input.len()];
        // As `Sae::decoder_norms`: of whole latents that go, the norms stay.
        let pruning = if matches!(self.order.dec, Plan::Latents(_)) { None } else { Some(self.at(at)) };
        self.sae.matrix(Side::Dec, pruning.as_ref(), |matrix| matrix.norm(self.latent as usize, &mut room))
    }
}

/// The terms of one pre-activation, in the order in which they die.
struct Terms {
    ranks: Vec<u32>,
    /// The pre-activation once the first `n` terms are gone, for `n` from 0 to all of them.
    left: Vec<f32>,
}

impl Terms {
    fn new(row: &[f32], input: &[f32], ranks: Vec<u32>, bias: f32) -> Self {
        let d = row.len();
        let mut terms: Vec<(u32, f32)> =
            ranks.into_iter().zip(row.iter().zip(input)).map(|(rank, (w, x))| (rank, w * x)).collect();
        terms.sort_unstable_by_key(|t| t.0);
        let mut left = vec![bias; d + 1];
        for n in (0..d).rev() {
            left[n] = left[n + 1] + terms[n].1;
        }
        Self { ranks: terms.into_iter().map(|t| t.0).collect(), left }
    }

    /// The pre-activation of the weights whose ranks reach a cut.
    fn left(&self, cut: u32) -> f32 {
        self.left[self.ranks.partition_point(|rank| *rank < cut)]
    }
}

/// Whether a candidate is among the chosen, given the last of them (none: fewer than k were found, all are chosen).
fn chosen(candidate: Candidate, last: Option<Candidate>) -> bool {
    // The last of them itself may have been summed in another order here.
    last.is_none_or(|last| last.0 == candidate.0 || by_value(&candidate, &last) != std::cmp::Ordering::Greater)
}
