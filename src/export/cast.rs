//! A recording of screens in asciicast v2, the format of asciinema.

use ratatui::{buffer::Buffer, layout::Position};
use serde_json::json;

use crate::ansi::Painter;

/// Frames with their times; each writes only what changed.
pub struct Recording {
    out: String,
    painter: Painter,
    size: (u16, u16),
}

impl Recording {
    pub fn new(width: u16, height: u16, title: &str) -> Self {
        let header = json!({ "version": 2, "width": width, "height": height, "title": title, "env": { "TERM": "xterm-256color" } });
        Self { out: format!("{header}\n"), painter: Painter::default(), size: (width, height) }
    }

    /// The screen at `seconds` from the start.
    pub fn frame(&mut self, seconds: f64, buffer: &Buffer, cursor: Option<Position>) {
        let size = (buffer.area.width, buffer.area.height);
        if size != self.size {
            self.event(seconds, "r", &format!("{}x{}", size.0, size.1));
            self.size = size;
        }
        let data = self.painter.frame(buffer, cursor);
        if !data.is_empty() {
            self.event(seconds, "o", &data);
        }
    }

    fn event(&mut self, seconds: f64, kind: &str, data: &str) {
        let line = json!([(seconds * 1000.0).round() / 1000.0, kind, data]);
        self.out += &format!("{line}\n");
    }

    pub fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_lines_of_json_that_carry_changes_only() {
        let mut recording = Recording::new(5, 1, "t");
        recording.frame(0.0, &Buffer::with_lines(["abcde"]), None);
        recording.frame(0.5, &Buffer::with_lines(["abXde"]), Some(Position::new(2, 0)));
        let text = recording.finish();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["version"], 2);
        let second = lines[2][2].as_str().unwrap();
        assert!(second.contains('X') && !second.contains('a'), "{second:?}");
        assert_eq!(lines[2][0], 0.5);
    }
}
