//! The path of a latent: its activation as a function of the ratio, exact because weights die in rank order.

use candle_core::Tensor;
use prunelens_kernels::{
    encode::{Grid, STEPS},
    select::{Candidate, by_value},
    with_f32,
};

use super::{Curve, GRID, Paths};
use crate::{
    error::Result,
    model::Tick,
    sae::{Activation, Dictionary, Latents, Order, Sae, grid_ratio},
};

/// Pre-activations of the prompt's active latents at every ratio, and (for TopK) who was the last to be chosen.
pub struct PathGrid {
    grid: Grid,
    /// The latents that fire at ratio 0.
    active: Latents,
}

impl PathGrid {
    /// For activations `x [n, d_in]` in the SAE's space and the latents that the unpruned SAE finds there.
    pub fn new(sae: &dyn Dictionary, order: &std::sync::Arc<Order>, x: &Tensor, active: &Latents) -> Result<Self> {
        let grid = sae.grid(order, x, active)?;
        Ok(Self { grid, active: active.clone() })
    }

    /// Activation of one (token, latent) pair at a step of the fine grid.
    fn value(&self, sae: &Sae, token: usize, latent: u32, pre: f32, step: usize) -> f32 {
        let value = sae.activation.value(latent as usize, pre, &sae.b_enc);
        let last = self.grid.last.get(token).and_then(|last| last[step]);
        if value > 0.0 && chosen((latent, pre), last) { value } else { 0.0 }
    }

    /// Paths and survival on the coarse grid; tokens for which `counts` is false are left out of the survival.
    pub fn paths(&self, sae: &Sae, order: &Order, counts: &[bool]) -> Paths {
        let mut alive = [0_usize; GRID];
        let mut total = 0;
        let rows = (0..self.active.rows())
            .map(|token| {
                let start = self.active.offsets[token];
                let (latents, values) = self.active.row(token);
                let row: Vec<_> = (latents.iter().zip(values).zip(start..))
                    .map(|((latent, value), at)| {
                        let mut path: [f32; GRID] = std::array::from_fn(|step| {
                            let step = step * STEPS / GRID;
                            self.value(sae, token, *latent, self.grid.paths[at][step], step)
                        });
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
        Paths { criterion: order.criterion, survival, active: total, rows }
    }

    /// Paths on the coarse grid of `(token, latent)` pairs that were silent at ratio 0.
    pub fn late(
        &self,
        sae: &Sae,
        order: &Order,
        x: &Tensor,
        pairs: &[(usize, u32)],
        tick: Tick,
    ) -> Result<Vec<[f32; GRID]>> {
        let (input, _) = sae.process_input(x)?;
        let path = |(token, latent): (usize, u32)| {
            tick()?;
            let terms = Terms::new(sae, order, &input[token * sae.d_in()..][..sae.d_in()], latent)?;
            let curve = self.walk(sae, order, &terms, token, latent)?;
            Ok(std::array::from_fn(|step| curve[step * STEPS / GRID].1))
        };
        pairs.iter().copied().map(path).collect()
    }

    /// One latent on one token at every ratio of the fine grid, and the ratio from which it stays silent. Where the
    /// activation depends on the latent alone that ratio is exact to the last weight; a TopK SAE's choice among latents
    /// is known at the steps of the grid.
    pub fn curve(&self, sae: &Sae, order: &Order, x: &Tensor, token: usize, latent: u32) -> Result<Curve> {
        let (input, _) = sae.process_input(&x.narrow(0, token, 1)?)?;
        let terms = Terms::new(sae, order, &input, latent)?;
        let curve = self.walk(sae, order, &terms, token, latent)?;
        let last_alive = curve.iter().rposition(|(_, v)| *v > 0.0);
        let dies_at = match last_alive {
            None => None,
            Some(step) if step + 1 == STEPS => None,
            Some(step) => Some(self.death(sae, order, latent, step, &terms)),
        };
        Ok((curve, dies_at))
    }

    /// The activation at every ratio of the fine grid.
    fn walk(&self, sae: &Sae, order: &Order, terms: &Terms, token: usize, latent: u32) -> Result<Vec<(f64, f32)>> {
        let d = sae.d_in();
        let first = latent as usize * d;
        let of_decoder = sae.activation.rescales().then(|| order.dec.part(first..first + d)).transpose()?;
        let rescale = |ratio_at: f64, pre: f32| -> Result<f32> {
            let Some(ranks) = &of_decoder else { return Ok(pre) };
            let row = with_f32(&sae.w_dec, |w| {
                let cut = order.dec.cut(ratio_at);
                let kept = w[first..first + d].iter().zip(ranks).filter(|(_, rank)| **rank >= cut);
                kept.map(|(w, _)| w * w).sum::<f32>().sqrt()
            })?;
            Ok(pre * row)
        };
        let mut curve = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            let pre = rescale(grid_ratio(step), terms.left(order.enc.cut(grid_ratio(step))))?;
            curve.push((grid_ratio(step), self.value(sae, token, latent, pre, step)));
        }
        Ok(curve)
    }

    /// Between the last step at which a latent fires and the next: the ratio at which its activation ends, if that is its
    /// own doing, else the next step.
    fn death(&self, sae: &Sae, order: &Order, latent: u32, step: usize, terms: &Terms) -> f64 {
        if matches!(sae.activation, Activation::TopK { .. }) {
            return grid_ratio(step + 1);
        }
        let (from, to) = (order.enc.cut(grid_ratio(step)), order.enc.cut(grid_ratio(step + 1)));
        let dead = |cut: u32| sae.activation.value(latent as usize, terms.left(cut), &sae.b_enc) == 0.0;
        // The last cut in between at which it still fires, plus one.
        let cut = (from..to).rev().find(|cut| !dead(*cut)).map_or(to, |cut| cut + 1);
        grid_ratio(step)
            + (grid_ratio(step + 1) - grid_ratio(step)) * f64::from(cut - from) / f64::from((to - from).max(1))
    }
}

/// The terms of one pre-activation, in the order in which they die.
struct Terms {
    ranks: Vec<u32>,
    /// The pre-activation once the first `n` terms are gone, for `n` from 0 to all of them.
    left: Vec<f32>,
}

impl Terms {
    /// Of a latent on a token's processed `input [d_in]`.
    fn new(sae: &Sae, order: &Order, input: &[f32], latent: u32) -> Result<Self> {
        let d = sae.d_in();
        let first = latent as usize * d;
        let ranks = order.enc.part(first..first + d)?;
        let mut terms: Vec<(u32, f32)> =
            with_f32(&sae.w_enc, |w| (0..d).map(|i| (ranks[i], w[first + i] * input[i])).collect())?;
        terms.sort_unstable_by_key(|t| t.0);
        let mut left = vec![sae.b_enc[latent as usize]; d + 1];
        for n in (0..d).rev() {
            left[n] = left[n + 1] + terms[n].1;
        }
        Ok(Self { ranks: terms.into_iter().map(|t| t.0).collect(), left })
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
