//! Does pruning cost more where there is less to spare? SAEs of low and high redundancy, pruned alike.

use prunelens_core::{
    compare::{matching::Matching, redundancy::Redundancy},
    error::Result,
    progress::Tick,
    session::Session,
};
use serde::{Deserialize, Serialize};

use super::{Rows, curve};
use crate::{
    statistics::Spread,
    sweep::{LayerResult, PointFigures, SweepSpec},
};

/// A latent has been found again from this cosine on.
pub const FOUND: f32 = 0.9;

/// What is measured of one SAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaeFigures {
    /// Latents.
    pub d_sae: usize,
    /// Dimensions of its rows.
    pub d_in: usize,
    /// How much of the dictionary says the same twice.
    pub redundancy: Redundancy,
    /// Untouched on both models, and pruned at every ratio on the pruned one.
    pub curves: LayerResult,
}

impl SaeFigures {
    /// Of the session's SAE.
    pub fn measure(
        session: &Session,
        spec: &SweepSpec,
        rows: &Rows,
        listen: &mut dyn FnMut(usize, usize),
        tick: Tick,
    ) -> Result<Self> {
        Ok(Self {
            d_sae: session.sae.d_sae(),
            d_in: session.sae.d_in(),
            redundancy: Redundancy::of(&*session.sae, &*session.models.original.ops, tick)?,
            curves: curve(session, spec, rows, listen, tick)?,
        })
    }

    /// Figures at each ratio, 0 first.
    pub fn points(&self) -> &[(f64, PointFigures)] {
        self.curves.curves.first().map_or(&[], |curve| &curve.points)
    }

    /// What pruning the SAE costs at each ratio: cross-entropy with the reconstruction in place, less that of the SAE as it is.
    pub fn costs(&self) -> Vec<(f64, f64)> {
        let Some((_, start)) = self.points().first() else { return Vec::new() };
        let cost = |(ratio, figures): &(f64, PointFigures)| (*ratio, figures.ce_loss_with_sae - start.ce_loss_with_sae);
        self.points().iter().map(cost).collect()
    }
}

/// How far two SAEs of other seeds find the same latents: the noise of every figure of matching.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likeness {
    /// Largest cosine of a latent of the first with one of the second, on average.
    pub mean_cosine: f64,
    /// Share of the first's latents that are the best match of their best match.
    pub mutual: f64,
    /// Share whose largest cosine is [`FOUND`] or more.
    pub found: f64,
}

impl Likeness {
    /// Of two sessions' SAEs.
    pub fn of(first: &Session, second: &Session, tick: Tick) -> Result<Self> {
        let matching = Matching::new(&*first.sae, &*second.sae, &*first.models.original.ops, tick)?;
        let found: Vec<_> = (0..first.sae.d_sae() as u32).filter_map(|latent| matching.get(latent)).collect();
        let n = found.len() as f64;
        let share = |of: &dyn Fn(&prunelens_core::compare::Match) -> bool| {
            found.iter().filter(|found| of(found)).count() as f64 / n
        };
        Ok(Self {
            mean_cosine: found.iter().map(|found| f64::from(found.cosine)).sum::<f64>() / n,
            mutual: share(&|found| found.mutual),
            found: share(&|found| found.cosine >= FOUND),
        })
    }
}

/// SAEs that differ in their seed only.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// What tells it from the others: "k16-d-sae512".
    pub name: String,
    /// Its SAEs.
    pub saes: Vec<String>,
    /// Latents of each.
    pub d_sae: usize,
    /// See [`Redundancy`].
    pub mean_max_cosine: Spread,
    /// See [`Redundancy`].
    pub effective_rank: Spread,
    /// Latents that fire on a token, of the untouched SAE on the pruned model.
    pub l0: Spread,
    /// Share of its latents that fire on the rows.
    pub alive: Spread,
    /// Variance explained, the same.
    pub variance_explained: Spread,
    /// Cross-entropy, the same.
    pub ce: Spread,
    /// What pruning costs at each ratio, in nats.
    pub costs: Vec<(f64, Spread)>,
    /// Between its seeds; none of one.
    pub likeness: Option<Likeness>,
}

impl Setting {
    /// Of SAEs with their names; none of no SAE.
    pub fn of(name: &str, saes: &[(&str, &SaeFigures)], likeness: Option<Likeness>) -> Option<Self> {
        let (_, first) = saes.first()?;
        let spread = |of: &dyn Fn(&SaeFigures) -> f64| Spread::of(saes.iter().map(|(_, figures)| of(figures)));
        let start = |of: fn(&PointFigures) -> f64| {
            spread(&move |figures| figures.points().first().map_or(f64::NAN, |(_, point)| of(point)))
        };
        let cost = |at: usize| {
            let of = |figures: &SaeFigures| figures.costs().get(at).map_or(f64::NAN, |(_, cost)| *cost);
            (first.points()[at].0, spread(&of))
        };
        Some(Self {
            name: name.to_owned(),
            saes: saes.iter().map(|(name, _)| (*name).to_owned()).collect(),
            d_sae: first.d_sae,
            mean_max_cosine: spread(&|figures| figures.redundancy.mean_max_cosine),
            effective_rank: spread(&|figures| figures.redundancy.effective_rank),
            l0: start(|point| point.l0),
            alive: start(|point| point.frac_alive),
            variance_explained: start(|point| point.variance_explained),
            ce: start(|point| point.ce_loss_with_sae),
            costs: (0..first.points().len()).map(cost).collect(),
            likeness,
        })
    }
}

/// At a ratio, the noise that seeds make: the widest spread of any setting, where settings have several.
pub fn noise(settings: &[Setting], at: usize) -> Option<f64> {
    let several = settings.iter().filter(|setting| setting.saes.len() > 1);
    several.filter_map(|setting| setting.costs.get(at)).map(|(_, cost)| cost.width()).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_needs_an_sae() {
        assert!(Setting::of("none", &[], None).is_none());
    }
}
