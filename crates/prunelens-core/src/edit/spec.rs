//! Edits as they are written: `12=ablate`, `12=scale:2@3`, `12=set:4.5@1..`, `12=add:-3`.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// One latent changed at some positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edit {
    /// Which latent.
    pub latent: u32,
    /// What is done to it.
    pub change: Change,
    /// Where.
    pub at: Positions,
}

/// What is done to a latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Its activation becomes 0.
    Ablate,
    /// Its activation is multiplied.
    Scale(f32),
    /// Its activation becomes this, whether it fires or not.
    Set(f32),
    /// This much of its decoder row is added to the activation at the hook, past the SAE.
    Add(f32),
}

/// Positions in the text; 0 is the first token that is read, BOS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// Every one.
    #[default]
    All,
    /// One alone.
    At(usize),
    /// One and all after it, generated ones too.
    From(usize),
}

/// What becomes of the part of an activation that the SAE misses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorTerm {
    /// It stays: the model sees what the edits change and nothing else.
    #[default]
    Keep,
    /// It goes: the model sees reconstructions.
    Drop,
}

impl Positions {
    /// Whether a position is among them.
    pub fn cover(self, position: usize) -> bool {
        match self {
            Self::All => true,
            Self::At(at) => position == at,
            Self::From(from) => position >= from,
        }
    }
}

impl FromStr for Positions {
    type Err = ();

    /// `P` or `P..`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_suffix("..") {
            Some(from) => from.parse().map(Self::From).map_err(|_| ()),
            None => text.parse().map(Self::At).map_err(|_| ()),
        }
    }
}

impl FromStr for Edit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::Usage(format!(
                "edit {text:?}: {what}; write LATENT=ablate, LATENT=scale:F, LATENT=set:V or LATENT=add:S, and @P or @P.. behind it for one position or all from it on"
            ))
        };
        let (latent, rest) = text.split_once('=').ok_or_else(|| wrong("there is no '='"))?;
        let latent = latent.strip_prefix('#').unwrap_or(latent);
        let latent = latent.parse().map_err(|_| wrong(&format!("{latent:?} is not the number of a latent")))?;
        let (change, at) = match rest.split_once('@') {
            Some((change, at)) => (change, at.parse().map_err(|()| wrong(&format!("{at:?} is not a position")))?),
            None => (rest, Positions::All),
        };
        let number = |value: &str| match value.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(wrong(&format!("{value:?} is not a finite number"))),
        };
        let change = match change.split_once(':') {
            None if change == "ablate" => Change::Ablate,
            Some(("scale", factor)) => Change::Scale(number(factor)?),
            Some(("set", value)) => Change::Set(number(value)?),
            Some(("add", strength)) => Change::Add(number(strength)?),
            _ => return Err(wrong(&format!("{change:?} is no change of a latent"))),
        };
        Ok(Self { latent, change, at })
    }
}

impl FromStr for ErrorTerm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "keep" => Ok(Self::Keep),
            "drop" => Ok(Self::Drop),
            _ => Err(Error::Usage(format!("expected keep or drop, found {text:?}"))),
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.latent)?;
        match self.change {
            Change::Ablate => f.write_str("ablate")?,
            Change::Scale(factor) => write!(f, "scale:{factor}")?,
            Change::Set(value) => write!(f, "set:{value}")?,
            Change::Add(strength) => write!(f, "add:{strength}")?,
        }
        match self.at {
            Positions::All => Ok(()),
            Positions::At(at) => write!(f, "@{at}"),
            Positions::From(from) => write!(f, "@{from}.."),
        }
    }
}

impl fmt::Display for ErrorTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back() {
        for text in ["12=ablate", "0=scale:2@3", "7=set:-4.5@1..", "4095=add:-3", "5=add:0.25@0.."] {
            assert_eq!(text.parse::<Edit>().unwrap().to_string(), text);
        }
        assert_eq!("#12=ablate".parse::<Edit>().unwrap().latent, 12);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("12", "no '='"),
            ("x=ablate", "\"x\" is not the number"),
            ("-1=ablate", "\"-1\" is not the number"),
            ("4294967296=ablate", "not the number"),
            ("1=ablate@", "\"\" is not a position"),
            ("1=ablate@-2", "not a position"),
            ("1=ablate@2..3", "not a position"),
            ("1=set:nan", "\"nan\" is not a finite"),
            ("1=set:1e60", "not a finite"),
            ("1=set", "\"set\" is no change"),
            ("1=ablate:2", "\"ablate:2\" is no change"),
            ("1=clamp:2", "\"clamp:2\" is no change"),
        ] {
            let message = text.parse::<Edit>().unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("LATENT=set:V"), "{message}");
        }
    }

    #[test]
    fn positions_cover_what_they_say() {
        let covered = |at: Positions| (0..4).filter(|p| at.cover(*p)).collect::<Vec<_>>();
        assert_eq!(covered(Positions::All), [0, 1, 2, 3]);
        assert_eq!(covered(Positions::At(2)), [2]);
        assert_eq!(covered(Positions::From(2)), [2, 3]);
    }
}
