//! Which layers to sweep: an SAE reads one, so several need a path with the layer's number in it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::error::{Error, Result};

/// What stands for the layer's number in a path.
pub const PLACE: &str = "{layer}";
/// Most layers of a model.
const MOST: usize = 1000;

/// `3`, or `0-11` with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRange {
    pub first: usize,
    pub last: usize,
}

impl FromStr for LayerRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last && last < MOST => Ok(Self { first, last }),
            _ => Err(Error::Usage(format!("layers {text:?} are not understood; expected 3 or 0-11"))),
        }
    }
}

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Every layer once, ascending.
pub fn all(ranges: &[LayerRange]) -> Vec<usize> {
    let mut layers: Vec<usize> = ranges.iter().flat_map(|r| r.first..=r.last).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

/// Whether a path has a place for the layer's number.
pub fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(PLACE)
}

/// The path of one layer.
pub fn at(pattern: &Path, layer: usize) -> PathBuf {
    pattern.to_string_lossy().replace(PLACE, &layer.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let parse = |text: &str| text.parse::<LayerRange>();
        assert_eq!(all(&[parse("3").unwrap(), parse("0-2").unwrap(), parse("2-3").unwrap()]), [0, 1, 2, 3]);
        assert_eq!(parse("0-11").unwrap().to_string(), "0-11");
        for wrong in ["", "-", "5-3", "a", "0-99999999999", "-1", "1-2-3"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(at(Path::new("a/l{layer}/sae_{layer}"), 7), Path::new("a/l7/sae_7"));
        assert!(is_pattern(Path::new("a/{layer}")) && !is_pattern(Path::new("a/layer")));
    }
}
