//! One line of progress on stderr, only if that is a terminal.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use prunelens_core::{error::Result, progress::Progress, text::bytes};
use unicode_width::UnicodeWidthChar;

use crate::{interrupt, output::printable};

/// Often enough to look alive, seldom enough for a slow line.
const EVERY: Duration = Duration::from_millis(100);

/// Rewrites its line in place and wipes it when dropped.
pub struct ProgressLine {
    terminal: bool,
    shown: Option<Instant>,
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: None }
    }
}

impl ProgressLine {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anybody sees it.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub fn show(&mut self, progress: &Progress) {
        self.line(|| describe(progress));
    }

    /// The same for work that words its own line; `text` is only called when it will be shown.
    pub fn line(&mut self, text: impl FnOnce() -> String) {
        if !self.terminal || self.shown.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        // A terminal that has gone away is no reason to stop the work.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", clip(&printable(&text()), columns.saturating_sub(1)));
    }

    /// Leave a last line standing, such as how long it took.
    pub fn end(&mut self, summary: &str) {
        self.clear();
        if self.terminal {
            let _ = writeln!(std::io::stderr(), "{}", printable(summary));
        }
    }

    /// Wipe the line; also done when dropped.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What long work reports to in a command without a screen: shows progress, and ends the work when the user asked to.
pub fn listener() -> impl FnMut(Progress) -> Result<()> {
    let mut line = ProgressLine::new();
    move |progress| {
        line.show(&progress);
        interrupt::tick()
    }
}

fn describe(progress: &Progress) -> String {
    let Progress { what, done, total, unit } = progress;
    let amount = |n: u64| if *unit == "bytes" { bytes(n) } else { format!("{n} {unit}") };
    match total {
        0 if *done == 0 => what.clone(),
        0 => format!("{what}  {}", amount(*done)),
        total => {
            format!("{what}  {:3.0} %  {} of {}", 100.0 * *done as f64 / *total as f64, amount(*done), amount(*total))
        }
    }
}

/// The longest start of the first line of `text` that fits into `columns` cells.
fn clip(text: &str, columns: usize) -> &str {
    let mut width = 0;
    for (at, c) in text.char_indices() {
        width += c.width().unwrap_or(0);
        if c == '\n' || width > columns {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_what_is_known() {
        let progress = |done, total, unit| describe(&Progress { what: "loading".into(), done, total, unit });
        assert_eq!(progress(0, 0, "bytes"), "loading");
        assert_eq!(progress(3 << 20, 6 << 20, "bytes"), "loading   50 %  3 MiB of 6 MiB");
        assert_eq!(progress(1, 4, "layers"), "loading   25 %  1 layers of 4 layers");
    }

    #[test]
    fn lines_never_wrap() {
        assert_eq!(clip("日本語", 4), "日本");
        assert_eq!(clip("one\ntwo", 80), "one");
    }
}
