//! A knob as people write it, before the SAE that it turns on is known.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use super::{Criterion, Knob, Setting};
use crate::error::{Error, Result};

/// A knob as flags and session files spell it: its name, and perhaps a value.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Dial {
    knob: Knob,
    at: Option<f64>,
}

impl Default for Dial {
    fn default() -> Self {
        Self { knob: Knob::Ratio(Criterion::Wanda), at: None }
    }
}

impl Dial {
    /// Which.
    pub fn knob(&self) -> Knob {
        self.knob
    }

    /// Whether it is the ratio that is set beside it.
    pub fn takes_the_ratio(&self) -> bool {
        matches!(self.knob, Knob::Ratio(_)) && self.at.is_none()
    }

    /// Whether what goes is chosen by a criterion.
    pub fn takes_a_criterion(&self) -> bool {
        matches!(self.knob, Knob::Ratio(_) | Knob::Latents(_))
    }

    /// The setting on an SAE of this width, with the ratio and the criterion that are set beside it.
    pub fn setting(&self, ratio: f64, criterion: Criterion, d_in: usize) -> Result<Setting> {
        let knob = self.knob.by(criterion);
        let scale = knob.scale(d_in);
        let at = match (self.at, knob) {
            (Some(at), _) => scale.check(at)?,
            (None, Knob::Ratio(_)) => scale.check(ratio)?,
            (None, _) => scale.start(),
        };
        Ok(knob.at(at))
    }
}

/// What flags say of a setting, with the ratio left to its own flag.
impl From<Setting> for Dial {
    fn from(setting: Setting) -> Self {
        let at = if matches!(setting.knob, Knob::Ratio(_)) { None } else { Some(setting.at) };
        Self { knob: setting.knob, at }
    }
}

impl TryFrom<String> for Dial {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Dial {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, at) = match text.split_once(':') {
            Some((name, at)) => (name, Some(at)),
            None => (text, None),
        };
        let wrong = || {
            Error::Usage(format!(
                "knob {:?}: expected ratio, bits, rank or latents, perhaps with a value, such as bits:4, rank:128 or latents:0.25",
                crate::text::shorten(text, 100)
            ))
        };
        let knob = Knob::named(name, Criterion::Wanda).ok_or_else(wrong)?;
        let at = at.map(|at| at.parse::<f64>().map_err(|_| wrong())).transpose()?;
        // The width of the SAE is not known yet.
        let at = at.map(|at| knob.scale(1 << 20).check(at)).transpose()?;
        Ok(Self { knob, at })
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{at}", self.knob.name()),
            None => f.write_str(self.knob.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_read_as_they_are_written() {
        for text in ["ratio", "bits", "rank", "latents", "bits:4", "rank:128", "latents:0.25", "ratio:0.5"] {
            assert_eq!(text.parse::<Dial>().unwrap().to_string(), text);
        }
        for text in
            ["", "bit", "bits:", "bits:9", "bits:2.5", "rank:0", "rank:1.5", "latents:1", "ratio:-1", "rank:nan"]
        {
            assert!(text.parse::<Dial>().is_err(), "{text}");
        }
        let setting = |text: &str| text.parse::<Dial>().unwrap().setting(0.3, Criterion::Paper, 64);
        assert_eq!(setting("ratio").unwrap(), Knob::Ratio(Criterion::Paper).at(0.3));
        assert_eq!(setting("latents").unwrap(), Knob::Latents(Criterion::Paper).at(0.25));
        assert_eq!(setting("rank").unwrap(), Knob::Rank.at(32.0));
        assert!(setting("rank:65").is_err());
    }
}
