//! The kinds of SAE that can be trained, with SAELens 6's losses.
//!
//! With `N` tokens, `c = x - b_dec`, `pre = c W_encᵀ + b_enc`, `f` the latents made of `pre`, `x̂ = f W_dec + b_dec` and `n` the
//! lengths of the decoder's rows, every kind has the loss `1/N Σ |x̂ - x|²` and one of its own:
//!
//! | kind | `f` | its own loss, for a token |
//! |---|---|---|
//! | topk | the k largest of `pre n` | `auxiliary` |
//! | batchtopk | the largest of the whole batch's `pre n`, k for each token on average | `auxiliary` |
//! | matryoshka | the same | `auxiliary + Σ_w \|x̂_w - x\|²` with `x̂_w` of the first `w` latents alone |
//! | standard | `relu(pre)` | `l1 Σ f n` |
//! | gated | `[pre > 0] relu(exp(r_mag) c W_encᵀ + b_mag)` | `l1 Σ relu(pre) n + \|relu(pre) W_dec + b_dec - x\|²` |
//! | jumprelu | `pre [pre > threshold]` | `l0` times one of [`Sparsity`], and a pull on dead latents |
//!
//! `auxiliary` is that of dead latents: with `e = x - x̂` held fixed and `ê` made of the largest of them,
//! `weight min(dead / k, 1) |ê - e|²`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::spec::{positive, share};
use crate::error::{Error, Result};

/// Kind of SAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// The k largest latents of each token (arXiv 2406.04093).
    TopK {
        /// Latents that fire on a token.
        k: usize,
    },
    /// ReLU with an L1 penalty on the latents.
    Standard {
        /// Weight of the penalty, in units of activations scaled to a mean length of `sqrt(d_in)`.
        l1: f64,
        /// Share of the budget over which the penalty grows to its full weight.
        l1_warm_up: f64,
    },
    /// The largest latents of a batch, so that tokens may have more or fewer (arXiv 2412.06410). Saved as JumpReLU.
    BatchTopK(Batch),
    /// The same, of which the first latents reconstruct alone as well (arXiv 2503.17547). Saved as JumpReLU.
    Matryoshka {
        /// Which latents fire.
        batch: Batch,
        /// How many of the first latents reconstruct alone, ascending; the last is `d_sae`.
        widths: Vec<usize>,
    },
    /// One part says which latents fire, another how strongly (arXiv 2404.16014).
    Gated {
        /// Weight of the penalty on the gates.
        l1: f64,
        /// Share of the budget over which the penalty grows to its full weight.
        l1_warm_up: f64,
    },
    /// Those above a threshold that is learnt (arXiv 2407.14435).
    JumpRelu(Jump),
}

/// Settings of the kinds that choose latents among those of a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Latents that fire on a token, on average.
    pub k: f64,
    /// Share of each step in the running threshold, which takes the batch's place when the SAE is used.
    pub threshold_rate: f64,
}

impl Batch {
    /// SAELens' rate.
    pub fn new(k: f64) -> Self {
        Self { k, threshold_rate: 0.01 }
    }
}

/// Settings of JumpReLU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jump {
    /// What all thresholds begin at.
    pub threshold: f64,
    /// Width of the band around a threshold within which pre-activations count in its gradient.
    pub bandwidth: f64,
    /// Weight of the sparsity loss.
    pub l0: f64,
    /// Share of the budget over which it grows to its full weight.
    pub l0_warm_up: f64,
    /// Which sparsity loss.
    pub sparsity: Sparsity,
    /// Whether the step's estimated gradient reaches the pre-activations too, or thresholds alone.
    pub to_input: bool,
    /// Weight of the loss that pulls dead latents up to their thresholds (0: none).
    pub pull: f64,
}

impl Default for Jump {
    fn default() -> Self {
        Self {
            threshold: 0.01,
            bandwidth: 0.05,
            l0: 1.0,
            l0_warm_up: 0.0,
            sparsity: Sparsity::Step,
            to_input: false,
            pull: 0.0,
        }
    }
}

/// Sparsity loss of JumpReLU, for a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sparsity {
    /// The number of active latents, L0.
    Step,
    /// `Σ tanh(scale f n)`.
    Tanh {
        /// The scale.
        scale: f64,
    },
    /// `2 (L0 - target)² / target`.
    Quadratic {
        /// Latents wanted on a token.
        target: f64,
    },
}

impl Architecture {
    /// As settings spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TopK { .. } => "topk",
            Self::Standard { .. } => "standard",
            Self::BatchTopK { .. } => "batchtopk",
            Self::Matryoshka { .. } => "matryoshka",
            Self::Gated { .. } => "gated",
            Self::JumpRelu { .. } => "jumprelu",
        }
    }

    /// The kind that it is when it is used, as `cfg.json` spells it.
    pub fn saved_as(&self) -> &'static str {
        match self {
            Self::BatchTopK { .. } | Self::Matryoshka { .. } => "jumprelu",
            _ => self.name(),
        }
    }

    /// SAELens' name of the training.
    pub fn trained_as(&self) -> &'static str {
        match self {
            Self::Matryoshka { .. } => "matryoshka_batchtopk",
            _ => self.name(),
        }
    }

    /// Names of the weights beside `W_enc`, `b_enc`, `W_dec` and `b_dec`, one number a latent each; `b_enc` of a gated SAE is
    /// its `b_gate`.
    pub fn vectors(&self) -> &'static [&'static str] {
        match self {
            Self::JumpRelu { .. } => &["threshold"],
            Self::Gated { .. } => &["r_mag", "b_mag"],
            _ => &[],
        }
    }

    /// Where those begin.
    pub fn vectors_at_start(&self) -> Vec<f32> {
        match self {
            Self::JumpRelu(jump) => vec![jump.threshold as f32],
            _ => vec![0.0; self.vectors().len()],
        }
    }

    /// Share of the budget over which the penalty grows to its full weight.
    pub fn warm_up(&self) -> f64 {
        match self {
            Self::Standard { l1_warm_up, .. } | Self::Gated { l1_warm_up, .. } => *l1_warm_up,
            Self::JumpRelu(jump) => jump.l0_warm_up,
            Self::TopK { .. } | Self::BatchTopK { .. } | Self::Matryoshka { .. } => 0.0,
        }
    }

    /// Whether dead latents may be taught by the auxiliary loss.
    pub fn has_auxiliary(&self) -> bool {
        matches!(self, Self::TopK { .. } | Self::BatchTopK { .. } | Self::Matryoshka { .. })
    }

    /// Refuse settings that cannot be trained with, naming them.
    pub(super) fn check(&self, d_sae: usize, batch: usize) -> Result<()> {
        let many =
            |k: &dyn fmt::Display| Error::Usage(format!("k is {k}; expected 1 to the number of latents, {d_sae}"));
        let average = |of: &Batch| {
            if !(of.k > 0.0 && of.k <= d_sae as f64) || of.k * (batch as f64) < 1.0 {
                return Err(many(&of.k));
            }
            match of.threshold_rate > 0.0 && of.threshold_rate <= 1.0 {
                true => Ok(()),
                false => Err(Error::Usage(format!(
                    "the rate of the threshold is {}; expected more than 0, 1 at most",
                    of.threshold_rate
                ))),
            }
        };
        match self {
            Self::TopK { k } if *k == 0 || *k > d_sae => Err(many(k)),
            Self::TopK { .. } => Ok(()),
            Self::Standard { l1, l1_warm_up } | Self::Gated { l1, l1_warm_up } => {
                positive("the L1 coefficient", *l1)?;
                share("the warm-up of L1", *l1_warm_up)
            }
            Self::BatchTopK(of) => average(of),
            Self::Matryoshka { batch, widths } => {
                average(batch)?;
                let ascending = widths.windows(2).all(|pair| pair[0] < pair[1]);
                match ascending && widths.first() > Some(&0) && widths.last() == Some(&d_sae) {
                    true => Ok(()),
                    false => Err(Error::Usage(format!(
                        "the widths are {widths:?}; expected ascending numbers of latents, the last of them {d_sae}"
                    ))),
                }
            }
            Self::JumpRelu(jump) => jump.check(d_sae),
        }
    }
}

impl Jump {
    fn check(&self, d_sae: usize) -> Result<()> {
        let not_negative = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(Error::Usage(format!("{name} is {value}; expected a number not below 0"))),
        };
        not_negative("the first threshold", self.threshold)?;
        positive("the bandwidth", self.bandwidth)?;
        positive("the L0 coefficient", self.l0)?;
        share("the warm-up of L0", self.l0_warm_up)?;
        not_negative("the pull on dead latents", self.pull)?;
        match self.sparsity {
            Sparsity::Step => Ok(()),
            Sparsity::Tanh { scale } => positive("the scale of tanh", scale),
            Sparsity::Quadratic { target } if !(target > 0.0 && target <= d_sae as f64) => Err(Error::Usage(format!(
                "the target L0 is {target}; expected more than 0, at most the number of latents, {d_sae}"
            ))),
            Sparsity::Quadratic { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopK { k } => write!(f, "topk{k}"),
            Self::BatchTopK(batch) | Self::Matryoshka { batch, .. } => write!(f, "{}{}", self.name(), batch.k),
            _ => f.write_str(self.name()),
        }
    }
}

/// What is asked of the decoder's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// They keep length 1: gradients along them are left out, and each step ends with a division by their lengths.
    Unit,
    /// They may have any length, as in SAELens 6; choices and penalties take latents times the lengths.
    Free,
}
