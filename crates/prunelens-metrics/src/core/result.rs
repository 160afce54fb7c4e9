//! What a core run finds for one variant, and the names its figures go by.

use std::sync::Arc;

use super::{
    activation::{ActivationFigures, DensityFigures},
    downstream::DownstreamFigures,
    weights::WeightFigures,
};
use crate::Better;

/// The core metric of one variant; NaN where undefined or not known yet.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreResult {
    /// What the reconstruction does to the model.
    pub downstream: DownstreamFigures,
    /// How good the reconstruction is.
    pub activation: ActivationFigures,
    /// Tokens of the rows used, masked ones included.
    pub total_tokens_eval_reconstruction: usize,
    /// The same of the rows that reconstructions and latents were measured on.
    pub total_tokens_eval_sparsity_variance: usize,
    /// How often each latent fires.
    pub density: DensityFigures,
    /// Empty until the weights have been looked at.
    pub weights: Arc<WeightFigures>,
}

/// One number of a [`CoreResult`].
pub struct Figure {
    /// Of SAEBench's categories.
    pub category: &'static str,
    /// As SAEBench names it.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Reads it off a result.
    pub get: fn(&CoreResult) -> f64,
}

/// Category of the figures SAEBench does not have.
pub const OWN: &str = "prunelens";

macro_rules! figures {
    ($($category:literal: $($name:literal $better:ident $get:expr),+;)+) => {
        &[$($(Figure { category: $category, name: $name, better: Better::$better, get: $get }),+),+]
    };
}

/// SAEBench's figures, in the order of its result files.
pub const FIGURES: &[Figure] = figures! {
    "model_behavior_preservation":
        "kl_div_score" Higher |r| r.downstream.kl_div_score(),
        "kl_div_with_ablation" Neither |r| r.downstream.kl_div_with_ablation,
        "kl_div_with_sae" Lower |r| r.downstream.kl_div_with_sae;
    "model_performance_preservation":
        "ce_loss_score" Higher |r| r.downstream.ce_loss_score(),
        "ce_loss_with_ablation" Neither |r| r.downstream.ce_loss_with_ablation,
        "ce_loss_with_sae" Lower |r| r.downstream.ce_loss_with_sae,
        "ce_loss_without_sae" Lower |r| r.downstream.ce_loss_without_sae;
    "reconstruction_quality":
        "explained_variance" Higher |r| r.activation.explained_variance,
        "explained_variance_legacy" Higher |r| r.activation.explained_variance_legacy,
        "mse" Lower |r| r.activation.mse,
        "cossim" Higher |r| r.activation.cossim;
    "shrinkage":
        "l2_norm_in" Neither |r| r.activation.l2_norm_in,
        "l2_norm_out" Neither |r| r.activation.l2_norm_out,
        "l2_ratio" Neither |r| r.activation.l2_ratio,
        "relative_reconstruction_bias" Neither |r| r.activation.relative_reconstruction_bias;
    "sparsity":
        "l0" Neither |r| r.activation.l0,
        "l1" Neither |r| r.activation.l1;
    "token_stats":
        "total_tokens_eval_reconstruction" Neither |r| r.total_tokens_eval_reconstruction as f64,
        "total_tokens_eval_sparsity_variance" Neither |r| r.total_tokens_eval_sparsity_variance as f64;
    "misc_metrics":
        "freq_over_1_percent" Neither |r| share_over(&r.density.density, 0.01),
        "freq_over_10_percent" Neither |r| share_over(&r.density.density, 0.1),
        "normalized_freq_over_1_percent" Neither |r| weight_over(&r.density.density, 0.01),
        "normalized_freq_over_10_percent" Neither |r| weight_over(&r.density.density, 0.1),
        "average_max_encoder_cosine_sim" Neither |r| mean(&r.weights.max_encoder_cosine_sim),
        "average_max_decoder_cosine_sim" Neither |r| mean(&r.weights.max_decoder_cosine_sim),
        "frac_alive" Higher |r| share_over(&r.density.density, 0.0);
};

/// Figures of our own: what `mse` and `explained_variance` usually mean.
pub const OWN_FIGURES: &[Figure] = figures! {
    "prunelens":
        "mse_per_element" Lower |r| r.activation.mse_per_element,
        "variance_explained" Higher |r| r.activation.variance_explained;
};

/// Whole numbers among the figures: written without a fraction.
pub fn is_count(figure: &Figure) -> bool {
    figure.category == "token_stats"
}

/// Share of the latents that fire on more than `limit` of the tokens.
fn share_over(density: &[f64], limit: f64) -> f64 {
    if density.iter().any(|d| d.is_nan()) {
        return f64::NAN;
    }
    density.iter().filter(|&&d| d > limit).count() as f64 / density.len() as f64
}

/// Share of all firings that is theirs; 0 if nothing fires.
fn weight_over(density: &[f64], limit: f64) -> f64 {
    let total: f64 = density.iter().sum();
    let over: f64 = density.iter().filter(|&&d| d > limit).sum();
    if total > 0.0 || total.is_nan() { over / total } else { 0.0 }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies() {
        let density = [0.0, 0.005, 0.01, 0.05, 0.1, 0.2];
        assert_eq!(share_over(&density, 0.0), 5.0 / 6.0);
        assert_eq!(share_over(&density, 0.01), 0.5);
        assert_eq!(share_over(&density, 0.1), 1.0 / 6.0);
        assert!((weight_over(&density, 0.01) - 0.35 / 0.365).abs() < 1e-12);
        assert_eq!(weight_over(&[0.0, 0.0], 0.01), 0.0);
        assert!(share_over(&[f64::NAN], 0.0).is_nan() && weight_over(&[f64::NAN], 0.1).is_nan() && mean(&[]).is_nan());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FIGURES.iter().chain(OWN_FIGURES).map(|f| f.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(OWN_FIGURES.iter().all(|f| f.category == OWN));
    }
}
