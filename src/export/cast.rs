//! A recording of screens in asciicast v2, the format of asciinema.

use std::io::{self, Write};

use ratatui::{buffer::Buffer, layout::Position};
use serde_json::json;

use crate::ansi::Painter;

/// Frames with their times, each of which writes only what changed. Lines are written whole: a recording that is broken off is
/// one up to that moment.
pub struct Recording<W> {
    out: W,
    /// In whole lines.
    bytes: u64,
    painter: Painter,
    size: (u16, u16),
}

impl<W: Write> Recording<W> {
    pub fn new(out: W, (width, height): (u16, u16), title: &str) -> io::Result<Self> {
        let header = json!({ "version": 2, "width": width, "height": height, "title": title, "env": { "TERM": "xterm-256color" } });
        let mut recording = Self { out, bytes: 0, painter: Painter::default(), size: (width, height) };
        recording.write(&format!("{header}\n"))?;
        Ok(recording)
    }

    /// The screen at `seconds` from the start.
    pub fn frame(&mut self, seconds: f64, buffer: &Buffer, cursor: Option<Position>) -> io::Result<()> {
        let mut lines = String::new();
        let size = (buffer.area.width, buffer.area.height);
        if size != self.size {
            lines += &event(seconds, "r", &format!("{}x{}", size.0, size.1));
            self.size = size;
        }
        let data = self.painter.frame(buffer, cursor);
        if !data.is_empty() {
            lines += &event(seconds, "o", &data);
        }
        self.write(&lines)
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        self.out.write_all(lines.as_bytes())?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// What was written to, and how many bytes of it are whole lines.
    pub fn finish(self) -> (W, u64) {
        (self.out, self.bytes)
    }
}

fn event(seconds: f64, kind: &str, data: &str) -> String {
    let line = json!([(seconds * 1000.0).round() / 1000.0, kind, data]);
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_lines_of_json_that_carry_changes_only() {
        let mut recording = Recording::new(Vec::new(), (5, 1), "t").unwrap();
        recording.frame(0.0, &Buffer::with_lines(["abcde"]), None).unwrap();
        recording.frame(0.5, &Buffer::with_lines(["abXde"]), Some(Position::new(2, 0))).unwrap();
        let (text, bytes) = recording.finish();
        assert_eq!(bytes, text.len() as u64);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["version"], 2);
        let second = lines[2][2].as_str().unwrap();
        assert!(second.contains('X') && !second.contains('a'), "{second:?}");
        assert_eq!(lines[2][0], 0.5);
    }

    #[test]
    fn a_disk_that_takes_no_more_leaves_whole_lines() {
        /// Takes this many bytes.
        struct Full(Vec<u8>, usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match bytes.len().min(self.1 - self.0.len()) {
                    0 => Err(io::ErrorKind::StorageFull.into()),
                    some => self.0.write(&bytes[..some]),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut recording = Recording::new(Full(Vec::new(), 200), (5, 1), "t").unwrap();
        let frames = ["abcde", "fghij", "klmno", "pqrst"].map(|line| Buffer::with_lines([line]));
        let failed = frames.iter().find_map(|frame| recording.frame(0.0, frame, None).err());
        assert_eq!(failed.unwrap().kind(), io::ErrorKind::StorageFull);
        let (Full(text, _), bytes) = recording.finish();
        assert!(text.len() as u64 > bytes && text[bytes as usize - 1] == b'\n', "{bytes} of {}", text.len());
    }
}
