//! Loss, divergence, reconstruction and sparsity against the ratio at which an SAE is pruned.
//!
//! All ratios and criteria of a layer are measured on the same rows at once: they share the clean and the ablated pass of their
//! model, its activations at the hook, and one set of ranks a criterion. Variants without a ratio are measured beside them.

pub mod job;
pub mod knee;
pub mod layers;
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
    sae::Criterion,
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

/// At which ratios, by which criteria.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepSpec {
    /// How losses are measured.
    pub mode: Mode,
    /// Ascending, each once, above 0: the SAE as it is belongs to every curve.
    pub ratios: Vec<f64>,
    /// Each once.
    pub criteria: Vec<Criterion>,
}

impl SweepSpec {
    /// Refuses what cannot be swept.
    pub fn new(mode: Mode, ratios: &[f64], criteria: &[Criterion]) -> Result<Self> {
        if let Some(wrong) = ratios.iter().find(|r| !(0.0..1.0).contains(*r)) {
            return Err(Error::Usage(format!(
                "a ratio of {wrong} cannot be swept; expected at least 0 and less than 1"
            )));
        }
        let mut sorted: Vec<f64> = ratios.iter().copied().filter(|r| *r > 0.0).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.dedup();
        let mut chosen: Vec<Criterion> = Vec::new();
        for criterion in criteria {
            if !chosen.contains(criterion) {
                chosen.push(*criterion);
            }
        }
        if sorted.is_empty() || chosen.is_empty() {
            return Err(Error::Usage("a sweep needs at least one ratio above 0 and one criterion".into()));
        }
        if sorted.len() * chosen.len() > MOST {
            return Err(Error::Usage(format!(
                "{} ratios by {} criteria are more than the {MOST} points that one sweep may have",
                sorted.len(),
                chosen.len()
            )));
        }
        Ok(Self { mode, ratios: sorted, criteria: chosen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_sorted_and_checked() {
        let both = [Criterion::Paper, Criterion::Wanda, Criterion::Paper];
        let spec = SweepSpec::new(Mode::Masked, &[0.5, 0.0, 0.25, 0.5], &both).unwrap();
        assert_eq!((spec.ratios, spec.criteria), (vec![0.25, 0.5], vec![Criterion::Paper, Criterion::Wanda]));
        for wrong in [&[1.0][..], &[-0.1], &[f64::NAN], &[0.0], &[]] {
            assert!(SweepSpec::new(Mode::Masked, wrong, &both).is_err(), "{wrong:?}");
        }
        assert!(SweepSpec::new(Mode::Masked, &[0.5], &[]).is_err());
        let many: Vec<f64> = (1..150).map(|i| f64::from(i) / 200.0).collect();
        assert!(SweepSpec::new(Mode::Masked, &many, &both).unwrap_err().to_string().contains("more than the 200"));
    }
}
