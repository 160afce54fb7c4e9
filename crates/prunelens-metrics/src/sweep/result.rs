//! What a sweep finds: plain numbers, by layer, variant, knob and setting.

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
    model::HookPoint,
    sae::Knob,
};
use serde::{Deserialize, Serialize};

use super::knee::knee;
use crate::{Better, core::CoreResult};

/// Figures of one SAE at one ratio, NaN where undefined or not measured. Names are SAEBench's, its odd formulas included; those
/// it has no name for are `variance_explained`, `mse_per_element` and `alive`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointFigures {
    /// Cross-entropy of the model as it is.
    pub ce_loss_without_sae: f64,
    /// Cross-entropy with zeros at the hook.
    pub ce_loss_with_ablation: f64,
    /// Cross-entropy with the reconstruction at the hook.
    pub ce_loss_with_sae: f64,
    /// Share of the loss by ablation that the reconstruction gives back.
    pub ce_loss_score: f64,
    /// Divergence of the logits with the reconstruction at the hook, in nats.
    pub kl_div_with_sae: f64,
    /// SAEBench's odd formula, as in the core metric: `1 - R / (S - (S / d_in)^2)`.
    pub explained_variance: f64,
    /// One less the ratio of all squared errors and all variance.
    pub variance_explained: f64,
    /// SAEBench's: squared error of a token over the number of tokens in its batch, on average.
    pub mse: f64,
    /// Mean squared error of a number.
    pub mse_per_element: f64,
    /// Mean cosine of an activation and its reconstruction.
    pub cossim: f64,
    /// Latents that fire on a token, on average.
    pub l0: f64,
    /// Share of the dictionary that fired at least once.
    pub frac_alive: f64,
    /// Latents that fired at least once.
    pub alive: f64,
}

/// One of them.
pub struct PointFigure {
    /// As files and tables name it.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Reads it off a point.
    pub get: fn(&PointFigures) -> f64,
}

/// All, in the order of files and tables.
pub const FIGURES: [PointFigure; 13] = [
    PointFigure { name: "ce_loss_with_sae", better: Better::Lower, get: |f| f.ce_loss_with_sae },
    PointFigure { name: "kl_div_with_sae", better: Better::Lower, get: |f| f.kl_div_with_sae },
    PointFigure { name: "variance_explained", better: Better::Higher, get: |f| f.variance_explained },
    PointFigure { name: "mse_per_element", better: Better::Lower, get: |f| f.mse_per_element },
    PointFigure { name: "l0", better: Better::Neither, get: |f| f.l0 },
    PointFigure { name: "alive", better: Better::Higher, get: |f| f.alive },
    PointFigure { name: "frac_alive", better: Better::Higher, get: |f| f.frac_alive },
    PointFigure { name: "ce_loss_score", better: Better::Higher, get: |f| f.ce_loss_score },
    PointFigure { name: "explained_variance", better: Better::Higher, get: |f| f.explained_variance },
    PointFigure { name: "mse", better: Better::Lower, get: |f| f.mse },
    PointFigure { name: "cossim", better: Better::Higher, get: |f| f.cossim },
    PointFigure { name: "ce_loss_without_sae", better: Better::Neither, get: |f| f.ce_loss_without_sae },
    PointFigure { name: "ce_loss_with_ablation", better: Better::Neither, get: |f| f.ce_loss_with_ablation },
];

/// Those of [`FIGURES`] that tables and charts for people have.
pub const SHOWN: usize = 6;

impl PointFigures {
    /// Nothing was measured.
    pub const UNKNOWN: Self = Self {
        ce_loss_without_sae: f64::NAN,
        ce_loss_with_ablation: f64::NAN,
        ce_loss_with_sae: f64::NAN,
        ce_loss_score: f64::NAN,
        kl_div_with_sae: f64::NAN,
        explained_variance: f64::NAN,
        variance_explained: f64::NAN,
        mse: f64::NAN,
        mse_per_element: f64::NAN,
        cossim: f64::NAN,
        l0: f64::NAN,
        frac_alive: f64::NAN,
        alive: f64::NAN,
    };
}

impl From<&CoreResult> for PointFigures {
    fn from(result: &CoreResult) -> Self {
        let (downstream, activation) = (&result.downstream, &result.activation);
        let density = &result.density.density;
        let known = !density.is_empty() && density.iter().all(|d| d.is_finite());
        let alive = if known { density.iter().filter(|d| **d > 0.0).count() as f64 } else { f64::NAN };
        Self {
            ce_loss_without_sae: downstream.ce_loss_without_sae,
            ce_loss_with_ablation: downstream.ce_loss_with_ablation,
            ce_loss_with_sae: downstream.ce_loss_with_sae,
            ce_loss_score: downstream.ce_loss_score(),
            kl_div_with_sae: downstream.kl_div_with_sae,
            explained_variance: activation.explained_variance,
            variance_explained: activation.variance_explained,
            mse: activation.mse,
            mse_per_element: activation.mse_per_element,
            cossim: activation.cossim,
            l0: activation.l0,
            frac_alive: alive / density.len() as f64,
            alive,
        }
    }
}

/// The pretrained SAE on the pruned model, by the setting of its knob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What is turned along the curve.
    pub knob: Knob,
    /// (setting, figures), the SAE as it is first.
    pub points: Vec<(f64, PointFigures)>,
}

impl Curve {
    /// Of the loss.
    pub fn knee(&self) -> Option<usize> {
        // Any width will do: a knee does not depend on the axis' scale.
        let scale = self.knob.scale(1);
        let point = |(at, figures): &(f64, PointFigures)| (scale.position(*at), figures.ce_loss_with_sae);
        knee(&self.points.iter().map(point).collect::<Vec<_>>())
    }

    /// The setting from which the loss climbs.
    pub fn knee_at(&self) -> Option<f64> {
        self.knee().map(|at| self.points[at].0)
    }
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerResult {
    /// Where the SAEs of the layer read.
    pub hook: HookPoint,
    /// Variants without a ratio: original, transfer, trained.
    pub fixed: Vec<(Variant, PointFigures)>,
    /// Those of `pruned`, one a criterion.
    pub curves: Vec<Curve>,
}

/// Same rows, same models: what does not depend on the SAE must be the same at every layer and ratio. Layers are split at other
/// places of the same sum, so the last digits may differ.
pub fn check_comparable(layers: &[LayerResult]) -> Result<()> {
    const DIGITS: f64 = 1e-5;
    let mut first: [Option<f64>; 2] = [None, None];
    for layer in layers {
        let fixed = layer.fixed.iter().map(|(variant, figures)| (*variant, figures));
        let curves = layer.curves.iter().flat_map(|c| c.points.iter().map(|(_, figures)| (Variant::Pruned, figures)));
        for (variant, figures) in fixed.chain(curves) {
            let found = figures.ce_loss_without_sae;
            let expected = *first[usize::from(variant.on_pruned_model())].get_or_insert(found);
            if (found - expected).abs() > DIGITS * expected.abs() || found.is_nan() != expected.is_nan() {
                return Err(Error::invalid(format!(
                    "{variant} at {}: ce_loss_without_sae is {found}, elsewhere on the same model {expected}: the points cannot be compared",
                    layer.hook
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names_of_their_own() {
        let mut names: Vec<_> = FIGURES.iter().map(|f| f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }

    #[test]
    fn points_on_other_rows_are_refused() {
        let hook: HookPoint = "blocks.1.hook_resid_post".parse().unwrap();
        let point = |ce| PointFigures { ce_loss_without_sae: ce, ..PointFigures::UNKNOWN };
        let layer = |original, pruned: [f64; 2]| LayerResult {
            hook,
            fixed: vec![(Variant::Original, point(original))],
            curves: vec![Curve { knob: Knob::Bits, points: pruned.map(|ce| (0.0, point(ce))).into() }],
        };
        assert!(check_comparable(&[layer(3.0, [3.5, 3.5]), layer(3.0, [3.5, 3.500001])]).is_ok());
        let message = check_comparable(&[layer(3.0, [3.5, 3.51])]).unwrap_err().to_string();
        assert!(message.contains("pruned at blocks.1.hook_resid_post"), "{message}");
        assert!(check_comparable(&[layer(3.0, [3.5, 3.5]), layer(3.1, [3.5, 3.5])]).is_err());
        assert!(check_comparable(&[layer(3.0, [3.5, f64::NAN])]).is_err());
    }
}
