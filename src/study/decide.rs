//! What to do with the SAE of each layer, by rules that can be set.

use serde::Deserialize;

/// When a variant still holds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Rules {
    /// By how much the reconstruction error may be above the original's, as a share of it.
    pub error_rise: f64,
    /// The largest KL divergence between the compressed model's logits with and without the reconstruction, in nats.
    pub kl: f64,
    /// By how much the mean absorption may be above the original's.
    pub absorption_rise: f64,
    /// A pruned SAE is preferred to the untouched one from so many nats of cross-entropy less.
    pub gain: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { error_rise: 0.2, kl: 1.0, absorption_rise: 0.05, gain: 0.01 }
    }
}
