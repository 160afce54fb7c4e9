//! The terminal the explorer would run in.

use std::io::IsTerminal;

use serde::Serialize;

use crate::tui::theme::ColorDepth;

#[derive(Debug, Serialize)]
pub struct Terminal {
    /// Whether stdout is one.
    pub present: bool,
    columns: Option<u16>,
    rows: Option<u16>,
    /// "truecolor", "256", "16" or "none": what `--color auto` would choose on a terminal.
    colors: &'static str,
    /// $TERM.
    kind: Option<String>,
}

impl Terminal {
    pub fn find() -> Self {
        let present = std::io::stdout().is_terminal();
        let size = crossterm::terminal::size().ok().filter(|_| present);
        Self {
            present,
            columns: size.map(|(columns, _)| columns),
            rows: size.map(|(_, rows)| rows),
            colors: colors(),
            kind: std::env::var("TERM").ok(),
        }
    }

    pub fn lines(&self) -> [(&'static str, String); 1] {
        let size = match (self.columns, self.rows) {
            (Some(columns), Some(rows)) => format!("{columns}x{rows}, "),
            _ => "stdout is none, ".into(),
        };
        let kind = self.kind.as_deref().unwrap_or("not set");
        [("terminal", format!("{size}colours {}, TERM {kind}", self.colors))]
    }
}

fn colors() -> &'static str {
    match ColorDepth::detect() {
        ColorDepth::Truecolor => "truecolor",
        ColorDepth::Ansi256 => "256",
        ColorDepth::Ansi16 => "16",
        ColorDepth::None => "none",
    }
}
