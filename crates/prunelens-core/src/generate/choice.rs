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

    /// Refuse what cannot be drawn by.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::Usage(format!("temperature {}: expected a number from 0", self.temperature)));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(Error::Usage(format!("top-p {p}: expected a number above 0, at most 1")))
            }
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
        for (temperature, top_p) in [(-1.0, None), (f64::NAN, None), (1.0, Some(0.0)), (1.0, Some(1.5))] {
            assert!(Choice { temperature, top_p, seed: 0 }.check().is_err());
        }
    }
}
