//! How the next token is chosen.

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};
use prunelens_kernels::ops::Ops;

use crate::error::{Error, Result};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// 0 takes the likeliest, the first of equals.
    pub temperature: f64,
    /// Among the likeliest tokens that have this probability together.
    pub top_p: Option<f64>,
    /// Of what is drawn.
    pub seed: u64,
}

impl Choice {
    /// The likeliest token every time.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: None, seed: 0 };

    /// What a temperature may be, in words.
    pub const TEMPERATURES: &str = "0, or a number from 0.01 to 100";
    /// What a top-p may be, in words.
    pub const TOP_PS: &str = "a number above 0, at most 1";

    /// Logits are divided by it in f32: by much less they are no numbers any more, by much more all tokens are alike.
    pub fn is_temperature(temperature: f64) -> bool {
        temperature == 0.0 || (0.01..=100.0).contains(&temperature)
    }

    /// Whether tokens can be drawn among those with this probability together.
    pub fn is_top_p(p: f64) -> bool {
        p > 0.0 && p <= 1.0
    }

    /// Refuse what cannot be drawn by.
    pub fn check(&self) -> Result<()> {
        if !Self::is_temperature(self.temperature) {
            return Err(Error::Usage(format!("temperature {}: expected {}", self.temperature, Self::TEMPERATURES)));
        }
        match self.top_p {
            Some(p) if !Self::is_top_p(p) => Err(Error::Usage(format!("top-p {p}: expected {}", Self::TOP_PS))),
            _ => Ok(()),
        }
    }
}

/// Draws tokens from logits.
pub(super) enum Chooser {
    Likeliest,
    Drawn(Box<LogitsProcessor>),
}

impl Chooser {
    pub(super) fn new(choice: &Choice) -> Result<Self> {
        choice.check()?;
        let temperature = choice.temperature;
        if temperature == 0.0 {
            return Ok(Self::Likeliest);
        }
        let sampling = match choice.top_p {
            Some(p) if p < 1.0 => Sampling::TopP { p, temperature },
            _ => Sampling::All { temperature },
        };
        Ok(Self::Drawn(Box::new(LogitsProcessor::from_sampling(choice.seed, sampling))))
    }

    /// From logits `[1, vocabulary]`.
    pub(super) fn choose(&mut self, ops: &dyn Ops, logits: &Tensor) -> Result<u32> {
        match self {
            Self::Likeliest => Ok(ops.likeliest(logits)?.first().copied().unwrap_or_default()),
            Self::Drawn(processor) => Ok(processor.sample(&logits.flatten_all()?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_drawn_by_is_refused() {
        let check = |temperature, top_p| Choice { temperature, top_p, seed: 0 }.check();
        for temperature in [-1.0, f64::NAN, f64::INFINITY, 1e-300, 1e-38, 0.009, 100.1] {
            let message = check(temperature, None).unwrap_err().to_string();
            assert!(message.contains("expected 0, or a number from 0.01 to 100"), "{message}");
        }
        for p in [0.0, 1.5, f64::NAN] {
            assert!(check(1.0, Some(p)).is_err());
        }
        for temperature in [0.0, 0.01, 100.0] {
            check(temperature, Some(0.5)).unwrap();
        }
    }

    #[test]
    fn the_least_temperature_draws_the_likeliest() {
        let logits = Tensor::from_slice(&[-80.0_f32, 12.0, 60.0, 59.0], (1, 4), &candle_core::Device::Cpu).unwrap();
        let ops = prunelens_kernels::ops::of(&candle_core::Device::Cpu).unwrap();
        for top_p in [None, Some(0.9)] {
            let mut chooser = Chooser::new(&Choice { temperature: 0.01, top_p, seed: 7 }).unwrap();
            assert_eq!(chooser.choose(&*ops, &logits).unwrap(), 2);
        }
    }
}
