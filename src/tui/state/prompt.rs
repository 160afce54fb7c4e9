//! The prompt as it is being written, and as it was last asked for.

use std::sync::Arc;

use tui_textarea::{CursorMove, TextArea};

/// Longest prompt the editor takes, in characters: far beyond any context, small enough to stay quick.
pub const LONGEST: usize = 60_000;
/// Earlier prompts kept.
pub const PROMPTS: usize = 200;

#[derive(Clone, Debug)]
pub struct Prompt {
    pub area: TextArea<'static>,
    /// The text comparisons are made for; follows what is typed after a pause or at Enter.
    pub wanted: Arc<str>,
}

impl Default for Prompt {
    fn default() -> Self {
        Self { area: TextArea::default(), wanted: "".into() }
    }
}

impl Prompt {
    pub fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    pub fn is_blank(&self) -> bool {
        self.area.lines().iter().all(String::is_empty)
    }

    pub fn set(&mut self, text: &str) {
        self.area = TextArea::from(text.split('\n'));
        self.area.move_cursor(CursorMove::Bottom);
        self.area.move_cursor(CursorMove::End);
    }

    /// Room left, in characters.
    pub fn room(&self) -> usize {
        LONGEST.saturating_sub(self.area.lines().iter().map(|l| l.len() + 1).sum())
    }
}
