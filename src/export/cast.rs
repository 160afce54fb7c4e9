//! A recording of screens in asciicast v2, the format of asciinema.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Position,
    style::{Color, Modifier},
};
use serde_json::json;

/// Frames with their times; each writes only the cells that changed.
pub struct Recording {
    out: String,
    last: Option<Buffer>,
}

impl Recording {
    pub fn new(width: u16, height: u16, title: &str) -> Self {
        let header = json!({ "version": 2, "width": width, "height": height, "title": title, "env": { "TERM": "xterm-256color" } });
        Self { out: format!("{header}\n"), last: None }
    }

    /// The screen at `seconds` from the start.
    pub fn frame(&mut self, seconds: f64, buffer: &Buffer, cursor: Option<Position>) {
        let mut data = String::new();
        let empty = Buffer::empty(buffer.area);
        let before = match &self.last {
            Some(last) if last.area == buffer.area => last,
            _ => {
                data.push_str("\x1b[2J");
                &empty
            }
        };
        for (x, y, cell) in before.diff(buffer) {
            let _ = write!(data, "\x1b[{};{}H", y + 1, x + 1);
            push_style(&mut data, cell);
            data.push_str(cell.symbol());
        }
        data.push_str("\x1b[0m");
        match cursor {
            Some(at) => {
                let _ = write!(data, "\x1b[{};{}H\x1b[?25h", at.y + 1, at.x + 1);
            }
            None => data.push_str("\x1b[?25l"),
        }
        let _ = writeln!(self.out, "{}", json!([(seconds * 1000.0).round() / 1000.0, "o", data]));
        self.last = Some(buffer.clone());
    }

    pub fn finish(self) -> String {
        self.out
    }
}

fn push_style(out: &mut String, cell: &Cell) {
    out.push_str("\x1b[0");
    for (modifier, code) in [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::ITALIC, ";3"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::REVERSED, ";7"),
    ] {
        if cell.modifier.contains(modifier) {
            out.push_str(code);
        }
    }
    push_color(out, cell.fg, 30);
    push_color(out, cell.bg, 40);
    out.push('m');
}

/// SGR parameters of a colour; `base` is 30 for text, 40 for background.
fn push_color(out: &mut String, color: Color, base: u8) {
    let ansi = match color {
        Color::Reset => return,
        Color::Rgb(r, g, b) => {
            let _ = write!(out, ";{};2;{r};{g};{b}", base + 8);
            return;
        }
        Color::Indexed(i) => {
            let _ = write!(out, ";{};5;{i}", base + 8);
            return;
        }
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
    };
    let _ = write!(out, ";{}", base + ansi);
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
