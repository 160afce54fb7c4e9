//! Rounding to whole codes: `int4:g32:asym` as specs spell it, and what it makes of a row.

use crate::error::{Error, Result};

/// Bits of a code, and how many columns share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// 2 to 8.
    pub bits: u32,
    /// Columns of a group; `None` for whole rows.
    pub group: Option<usize>,
}

/// What four bits mean where no group is given.
const GROUP: usize = 128;

impl Grid {
    /// From `int4` and perhaps `g32`; the rest of the words is given back.
    pub fn parse<'a>(words: &'a [&'a str]) -> Option<(Self, &'a [&'a str])> {
        let (first, rest) = words.split_first()?;
        let bits: u32 = first.strip_prefix("int")?.parse().ok().filter(|bits| (2..=8).contains(bits))?;
        let group = rest.first().and_then(|word| word.strip_prefix('g')).and_then(|n| n.parse().ok());
        match group {
            Some(0) => None,
            Some(n) => Some((Self { bits, group: Some(n) }, &rest[1..])),
            None => Some((Self { bits, group: (bits == 4).then_some(GROUP) }, rest)),
        }
    }

    /// As specs spell it.
    pub fn spelling(&self) -> String {
        match self.group {
            Some(n) => format!("int{}:g{n}", self.bits),
            None => format!("int{}", self.bits),
        }
    }

    /// The largest code, of those from 0.
    pub fn top(&self) -> f32 {
        ((1_u32 << self.bits) - 1) as f32
    }

    /// Columns of a group in a row of so many; refused unless groups fill it.
    pub fn width(&self, name: &str, cols: usize) -> Result<usize> {
        let width = self.group.unwrap_or(cols);
        if width > 0 && cols.is_multiple_of(width) {
            return Ok(width);
        }
        Err(Error::invalid(format!(
            "{name}: expected a number of inputs that groups of {width} divide, found {cols}; take another group, such as :g{}",
            (1..=width.clamp(1, cols.max(1))).rev().find(|n| cols.is_multiple_of(*n)).unwrap_or(1)
        )))
    }
}

/// The smallest and the largest of some numbers.
pub fn extremes(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), value| (lo.min(*value), hi.max(*value)))
}
