//! How many colours the terminal shows, and the nearest one to an RGB colour.

use std::str::FromStr;

use prunelens_core::error::{Error, Result};
use ratatui::style::Color;

use crate::export::color::CUBE;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColorDepth {
    None,
    Ansi16,
    Ansi256,
    Truecolor,
}

impl ColorDepth {
    pub const ALL: [Self; 4] = [Self::None, Self::Ansi16, Self::Ansi256, Self::Truecolor];

    /// What standard output can show, from `NO_COLOR`, `FORCE_COLOR`, `COLORTERM` and `TERM`.
    pub fn detect() -> Self {
        match supports_color::on(supports_color::Stream::Stdout) {
            None => Self::None,
            Some(level) if level.has_16m => Self::Truecolor,
            Some(level) if level.has_256 => Self::Ansi256,
            Some(_) => Self::Ansi16,
        }
    }

    /// The nearest colour that can be shown. RGB has no meaning in 16 colours, whose values are the user's own.
    pub fn map(self, color: Color) -> Option<Color> {
        match (self, color) {
            (Self::None, _) => None,
            (Self::Truecolor, color) => Some(color),
            (Self::Ansi256, Color::Rgb(r, g, b)) => Some(Color::Indexed(nearest_256([r, g, b]))),
            (Self::Ansi256, color) => Some(color),
            (Self::Ansi16, Color::Rgb(..)) => None,
            (Self::Ansi16, Color::Indexed(i)) if i > 15 => None,
            (Self::Ansi16, color) => Some(color),
        }
    }

    pub fn shows(self, color: Color) -> bool {
        self.map(color) == Some(color)
    }
}

impl FromStr for ColorDepth {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::detect()),
            "truecolor" => Ok(Self::Truecolor),
            "256" => Ok(Self::Ansi256),
            "16" => Ok(Self::Ansi16),
            "none" => Ok(Self::None),
            _ => Err(Error::Usage(format!(
                "colour depth {name:?} does not exist; expected auto, truecolor, 256, 16 or none"
            ))),
        }
    }
}

/// Nearest of xterm's 216 cube colours and 24 greys.
fn nearest_256(rgb: [u8; 3]) -> u8 {
    let axis = |v: u8| (0..6).min_by_key(|&i: &usize| CUBE[i].abs_diff(v)).unwrap_or(0);
    let [r, g, b] = rgb.map(axis);
    let cube = [CUBE[r], CUBE[g], CUBE[b]];
    let mean = rgb.iter().map(|&v| u32::from(v)).sum::<u32>() / 3;
    let step = (mean.saturating_sub(3) / 10).min(23) as u8;
    let grey = [8 + 10 * step; 3];
    if distance(rgb, grey) < distance(rgb, cube) { 232 + step } else { (16 + 36 * r + 6 * g + b) as u8 }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(&x, y)| u32::from(x.abs_diff(y)).pow(2)).sum()
}

/// Perceived lightness of an RGB colour, 0 to 1.
pub fn lightness([r, g, b]: [u8; 3]) -> f32 {
    (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::color::rgb;

    #[test]
    fn rgb_finds_its_nearest_of_256() {
        assert_eq!(nearest_256([0, 0, 0]), 16);
        assert_eq!(nearest_256([255, 255, 255]), 231);
        assert_eq!(nearest_256([255, 0, 0]), 196);
        assert_eq!(nearest_256([128, 128, 128]), 244);
        for index in 16..=255u8 {
            let value = rgb(Color::Indexed(index)).unwrap();
            assert_eq!(rgb(Color::Indexed(nearest_256(value))), Some(value));
        }
    }
}
