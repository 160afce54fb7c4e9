//! Flags that say how the explorer looks.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::tui::theme::ColorDepth;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Display")]
pub struct DisplayArgs {
    /// A built-in theme, or a theme file (TOML) [default: by the terminal's background].
    #[arg(long, value_name = "NAME|FILE")]
    pub theme: Option<String>,
    /// Colours the terminal can show [default: auto].
    #[arg(long, value_name = "DEPTH")]
    pub color: Option<ColorChoice>,
    /// Draw with ASCII characters only.
    #[arg(long)]
    pub ascii: bool,
    /// Take the mouse, which selecting text then needs Shift for.
    #[arg(long)]
    pub mouse: bool,
}

/// Colour depth of the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// What the environment says (NO_COLOR, COLORTERM, TERM).
    #[default]
    Auto,
    Truecolor,
    #[value(name = "256")]
    #[serde(rename = "256")]
    Indexed,
    #[value(name = "16")]
    #[serde(rename = "16")]
    Ansi,
    None,
}

impl From<ColorChoice> for ColorDepth {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => Self::detect(),
            ColorChoice::Truecolor => Self::Truecolor,
            ColorChoice::Indexed => Self::Ansi256,
            ColorChoice::Ansi => Self::Ansi16,
            ColorChoice::None => Self::None,
        }
    }
}
