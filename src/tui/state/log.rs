//! Messages to the user: the latest in the status line, all of them in the log screen.

use std::time::Duration;

/// Messages kept.
const LONGEST: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Duration,
    pub level: Level,
    pub text: String,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    /// The last entry is still in the status line.
    pub showing: bool,
}

impl Log {
    /// What only informs and was the last thing said is not said twice: a key may be held.
    pub fn push(&mut self, at: Duration, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.showing = true;
        if let Some(last) = self.entries.last_mut()
            && (last.level, &last.text) == (Level::Info, &text)
            && level == Level::Info
        {
            last.at = at;
            return;
        }
        if self.entries.len() == LONGEST {
            self.entries.remove(0);
        }
        self.entries.push(Entry { at, level, text });
    }

    /// What the status line says.
    pub fn status(&self) -> Option<&Entry> {
        self.entries.last().filter(|_| self.showing)
    }

    /// A key was pressed: what only informs has been seen. Errors stay until they are dismissed.
    pub fn seen(&mut self) {
        if self.status().is_some_and(|e| e.level == Level::Info) {
            self.showing = false;
        }
    }

    pub fn dismiss(&mut self) {
        self.showing = false;
    }

    /// A message that waits to be seen stands in the status line.
    pub fn is_showing(&self) -> bool {
        self.showing
    }
}
