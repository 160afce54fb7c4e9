//! Loss, divergence, reconstruction and sparsity against the setting of the knob at which an SAE is pruned.
//!
//! All settings and criteria of a layer are measured on the same rows at once: they share the clean and the ablated pass of their
//! model, its activations at the hook, and one set of ranks a criterion. Variants without a setting are measured beside them.

pub mod job;
pub mod knee;
pub mod options;
pub mod paper;
pub mod plan;
pub mod report;
pub mod result;
mod summary;

pub use job::SweepJob;
pub use options::SweepOptions;
pub use result::{Curve, LayerResult, PointFigures};

use prunelens_core::{
    error::{Error, Result},
    sae::{Criterion, Knob, Scale},
};
use serde::Deserialize;

/// Ratios if none are chosen.
pub const RATIOS: [f64; 9] = [0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// Most pruned SAEs in one sweep of a layer.
const MOST: usize = 200;

/// How loss is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As the core metric: special tokens are neither spliced nor counted.
    #[default]
    Masked,
    /// As the released code of arXiv 2507.15977: every position is spliced and counted, BOS and padding too, and the loss is the
    /// mean of the batches' means.
    Paper,
}

impl Mode {
    /// As flags and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Paper => "paper",
        }
    }
}

/// At which settings, of which knobs.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepSpec {
    /// How losses are measured.
    pub mode: Mode,
    /// Settings, from the untouched SAE on, each once and without it: the SAE as it is belongs to every curve.
    pub settings: Vec<f64>,
    /// One knob, by each criterion once.
    pub knobs: Vec<Knob>,
}

impl SweepSpec {
    /// Refuses what cannot be swept on an SAE that reads activations of this width. Without settings those that suit the knob.
    pub fn new(mode: Mode, knob: Knob, settings: &[f64], criteria: &[Criterion], d_in: usize) -> Result<Self> {
        let scale = knob.scale(d_in);
        let settings = if settings.is_empty() { defaults(scale) } else { settings.to_vec() };
        let checked = settings.into_iter().map(|at| scale.check(at)).collect::<Result<Vec<_>>>()?;
        let mut sorted: Vec<f64> = checked.into_iter().filter(|at| !scale.is_untouched(*at)).collect();
        sorted.sort_by(|a, b| scale.position(*a).total_cmp(&scale.position(*b)));
        sorted.dedup();
        let mut knobs: Vec<Knob> = Vec::new();
        for knob in criteria.iter().map(|criterion| knob.by(*criterion)) {
            if !knobs.contains(&knob) {
                knobs.push(knob);
            }
        }
        if sorted.is_empty() || knobs.is_empty() {
            return Err(Error::Usage(match knob {
                Knob::Ratio(_) => "a sweep needs at least one ratio above 0 and one criterion".into(),
                _ => format!("a sweep needs at least one setting beside the untouched SAE: {}", scale.expected()),
            }));
        }
        if sorted.len() * knobs.len() > MOST {
            return Err(Error::Usage(format!(
                "{} settings by {} criteria are more than the {MOST} points that one sweep may have",
                sorted.len(),
                knobs.len()
            )));
        }
        Ok(Self { mode, settings: sorted, knobs })
    }

    /// The knob with the first criterion.
    pub fn knob(&self) -> Knob {
        self.knobs.first().copied().unwrap_or(Knob::Bits)
    }
}

/// Settings if none are chosen: [`RATIOS`] of the weights or latents, all bits there are, or every second rank of a path.
fn defaults(scale: Scale) -> Vec<f64> {
    match scale.knob {
        Knob::Ratio(_) | Knob::Latents(_) => RATIOS.into(),
        Knob::Bits => scale.grid(),
        Knob::Rank => scale.grid().into_iter().step_by(2).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sorted_and_checked() {
        let both = [Criterion::Paper, Criterion::Wanda, Criterion::Paper];
        let ratio = |settings: &[f64], criteria: &[Criterion]| {
            SweepSpec::new(Mode::Masked, Knob::Ratio(Criterion::Wanda), settings, criteria, 64)
        };
        let spec = ratio(&[0.5, 0.0, 0.25, 0.5], &both).unwrap();
        let knobs = [Criterion::Paper, Criterion::Wanda].map(Knob::Ratio);
        assert_eq!((spec.settings, spec.knobs), (vec![0.25, 0.5], knobs.into()));
        for wrong in [&[1.0][..], &[-0.1], &[f64::NAN], &[0.0]] {
            assert!(ratio(wrong, &both).is_err(), "{wrong:?}");
        }
        assert!(ratio(&[0.5], &[]).is_err());
        let many: Vec<f64> = (1..150).map(|i| f64::from(i) / 200.0).collect();
        assert!(ratio(&many, &both).unwrap_err().to_string().contains("more than the 200"));
    }

    #[test]
    fn other_knobs_go_down_from_the_untouched_sae() {
        let spec = |knob, settings: &[f64]| SweepSpec::new(Mode::Masked, knob, settings, &Criterion::ALL, 64);
        let bits = spec(Knob::Bits, &[2.0, 32.0, 8.0, 4.0]).unwrap();
        assert_eq!((bits.settings, bits.knobs), (vec![8.0, 4.0, 2.0], vec![Knob::Bits]));
        assert_eq!(spec(Knob::Bits, &[]).unwrap().settings.len(), 7);
        let ranks = spec(Knob::Rank, &[]).unwrap().settings;
        assert!(ranks.len() == 9 && ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
        for wrong in [&[9.0][..], &[0.5], &[32.0]] {
            assert!(spec(Knob::Bits, wrong).is_err(), "{wrong:?}");
        }
        assert!(spec(Knob::Rank, &[65.0]).is_err());
    }
}
