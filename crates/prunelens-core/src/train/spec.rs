//! What to train and how: plain data.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kind::{Architecture, Decoder};
use crate::error::{Error, Result};

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// So many of them.
    Tokens(u64),
    /// Wall-clock time, interruptions left out. Not reproducible to the bit.
    Minutes(f64),
}

impl Budget {
    /// Share of the budget used, 0 to 1.
    pub fn progress(&self, tokens: u64, seconds: f64) -> f64 {
        let share = match self {
            Self::Tokens(total) => tokens as f64 / *total as f64,
            Self::Minutes(total) => seconds / (total * 60.0),
        };
        share.min(1.0)
    }
}

/// Everything that decides the outcome of a training run, apart from the activations themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Which kind of SAE.
    pub architecture: Architecture,
    /// Size of the dictionary.
    pub d_sae: usize,
    /// Each token to mean 0 and standard deviation 1, at inference as well. Otherwise one factor for all tokens brings their
    /// mean length to `sqrt(d_in)` while training; it is folded into the saved weights.
    pub layer_norm: bool,
    /// How long.
    pub budget: Budget,
    /// Tokens a step.
    pub batch: usize,
    /// Tokens among which batches are drawn; filled anew when used up.
    pub buffer: usize,
    /// Of Adam, at its height.
    pub learning_rate: f64,
    /// Share of the budget over which the learning rate grows to its full value.
    pub warm_up: f64,
    /// Share of the budget at the end over which it falls to 0.
    pub decay: f64,
    /// Whether the decoder's rows keep length 1.
    pub decoder: Decoder,
    /// Gradients of all weights together that are longer are cut to this length.
    pub clip: Option<f64>,
    /// Weight of the auxiliary loss: dead latents reconstruct what the live ones leave (0: none).
    pub auxiliary: f64,
    /// How many dead latents may do so for each token; half of `d_in` if not given.
    pub auxiliary_k: Option<usize>,
    /// A latent that has not fired for this many tokens is dead.
    pub dead_after: u64,
    /// Of the weights' beginning.
    pub seed: u64,
    /// Of the order in which tokens come.
    pub data_seed: u64,
}

impl TrainSpec {
    /// Settings to begin from. `topk` and `standard` keep decoder rows at length 1 and cut no gradients; the other kinds
    /// train as SAELens 6 does.
    pub fn new(architecture: Architecture, d_sae: usize, budget: Budget) -> Self {
        let house = matches!(architecture, Architecture::TopK { .. } | Architecture::Standard { .. });
        let auxiliary = match architecture.has_auxiliary() {
            true if house => 1.0 / 32.0,
            true => 1.0,
            false => 0.0,
        };
        Self {
            architecture,
            d_sae,
            layer_norm: false,
            budget,
            batch: 1024,
            buffer: 1 << 16,
            learning_rate: default_learning_rate(d_sae),
            warm_up: 0.01,
            decay: 0.2,
            decoder: if house { Decoder::Unit } else { Decoder::Free },
            clip: (!house).then_some(1.0),
            auxiliary,
            auxiliary_k: None,
            dead_after: 200_000,
            seed: 0,
            data_seed: 0,
        }
    }

    /// Settings for a TopK SAE.
    pub fn topk(k: usize, d_sae: usize, budget: Budget) -> Self {
        Self::new(Architecture::TopK { k }, d_sae, budget)
    }

    /// Settings for a ReLU SAE with an L1 loss.
    pub fn standard(l1: f64, d_sae: usize, budget: Budget) -> Self {
        Self::new(Architecture::Standard { l1, l1_warm_up: 0.05 }, d_sae, budget)
    }

    /// Refuse what cannot be trained, naming the setting.
    pub fn check(&self, d_in: usize) -> Result<()> {
        self.architecture.check(self.d_sae, self.batch)?;
        // Two weight matrices with two moments each must fit in memory, with room to spare on common machines.
        match self.d_sae.checked_mul(d_in) {
            Some(1..=MAX_WEIGHTS) => {}
            _ => {
                return Err(Error::Usage(format!(
                    "{} latents of width {d_in} are more than can be trained here; choose a smaller --d-sae",
                    self.d_sae
                )));
            }
        }
        if self.batch == 0 || self.batch > 1 << 20 || self.buffer < self.batch || self.buffer > 1 << 24 {
            return Err(Error::Usage(format!(
                "batches of {} tokens out of a buffer of {}; expected 1 to 1048576, and a buffer not smaller",
                self.batch, self.buffer
            )));
        }
        match self.budget {
            Budget::Tokens(tokens) => positive("the token budget", tokens as f64)?,
            Budget::Minutes(minutes) => positive("the time budget", minutes)?,
        }
        positive("the learning rate", self.learning_rate)?;
        share("the warm-up", self.warm_up)?;
        share("the decay", self.decay)?;
        if let Some(clip) = self.clip {
            positive("the length that gradients are cut to", clip)?;
        }
        if !(0.0..=1e3).contains(&self.auxiliary) {
            return Err(Error::Usage(format!("the auxiliary coefficient is {}; expected 0 to 1000", self.auxiliary)));
        }
        Ok(())
    }

    /// Steps from one report of the curve to the next: a thousand reports at most, if it is known how many steps there are.
    pub fn reports_every(&self) -> u64 {
        const REPORTS: u64 = 1000;
        match self.budget {
            Budget::Tokens(tokens) => tokens.div_ceil(self.batch.max(1) as u64).div_ceil(REPORTS).max(1),
            Budget::Minutes(_) => 10,
        }
    }

    /// Factors of the learning rate and of the penalty when `progress` (0 to 1) of the budget is used.
    pub fn schedule(&self, progress: f64) -> (f64, f64) {
        let ramp = |share: f64| if share > 0.0 { (progress / share).min(1.0) } else { 1.0 };
        let fall = if self.decay > 0.0 { ((1.0 - progress) / self.decay).clamp(0.0, 1.0) } else { 1.0 };
        (ramp(self.warm_up) * fall, ramp(self.architecture.warm_up()))
    }
}

/// Refuse what is not a share of the budget.
pub(super) fn share(name: &str, value: f64) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Error::Usage(format!("{name} is {value}; expected a share of the budget, 0 to 1"))),
    }
}

/// Refuse what is not a positive number.
pub(super) fn positive(name: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(Error::Usage(format!("{name} is {value}; expected a positive number"))),
    }
}

const MAX_WEIGHTS: usize = 1 << 30;

/// Falls with the root of `d_sae`, as arXiv 2406.04093 found; larger than there, since budgets on a CPU are short.
pub fn default_learning_rate(d_sae: usize) -> f64 {
    7e-4 * (16384.0 / d_sae.max(1) as f64).sqrt()
}

/// The first setting in which two sets of settings differ, with both values: (key, stored, asked for).
pub fn first_difference(stored: &Value, asked: &Value) -> Option<(String, String, String)> {
    fn walk(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
                keys.into_iter().find_map(|key| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
                })
            }
            _ if a == b => None,
            _ => Some((path.to_owned(), a.to_string(), b.to_string())),
        }
    }
    walk("", stored, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_stays_and_falls_to_zero() {
        let spec = TrainSpec { warm_up: 0.1, decay: 0.2, ..TrainSpec::topk(8, 64, Budget::Tokens(1000)) };
        let at = |progress| spec.schedule(progress).0;
        assert_eq!([at(0.0), at(0.05), at(0.1), at(0.7)], [0.0, 0.5, 1.0, 1.0]);
        assert!((at(0.9) - 0.5).abs() < 1e-12);
        assert_eq!(at(1.0), 0.0);
    }

    #[test]
    fn l1_warms_up_over_its_own_share() {
        let spec = TrainSpec::standard(5.0, 64, Budget::Tokens(1000));
        assert_eq!(spec.schedule(0.025).1, 0.5);
        assert_eq!(spec.schedule(0.5).1, 1.0);
    }

    #[test]
    fn what_cannot_be_trained_is_refused_by_name() {
        let good = TrainSpec::topk(8, 64, Budget::Tokens(1000));
        assert!(good.check(16).is_ok());
        let message = |spec: TrainSpec| spec.check(16).unwrap_err().to_string();
        assert!(message(TrainSpec::topk(65, 64, Budget::Tokens(1000))).contains("k is 65"));
        assert!(message(TrainSpec { learning_rate: f64::NAN, ..good.clone() }).contains("learning rate"));
        assert!(message(TrainSpec { d_sae: usize::MAX, ..good.clone() }).contains("--d-sae"));
        assert!(message(TrainSpec { batch: 0, ..good }).contains("batches of 0"));
    }

    #[test]
    fn the_differing_key_is_found() {
        let stored = TrainSpec::topk(8, 64, Budget::Tokens(1000));
        let asked = TrainSpec { architecture: Architecture::TopK { k: 9 }, ..stored.clone() };
        let value = |spec: &TrainSpec| serde_json::to_value(spec).unwrap();
        assert_eq!(first_difference(&value(&stored), &value(&stored)), None);
        let (key, old, new) = first_difference(&value(&stored), &value(&asked)).unwrap();
        assert_eq!((key.as_str(), old.as_str(), new.as_str()), ("architecture.topk.k", "8", "9"));
    }
}
