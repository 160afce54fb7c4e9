//! The way out to the user: answers to stdout, messages without control characters.

mod exit;
mod progress;

use std::io::Write;

use prunelens_core::{
    error::{Error, Result},
    text::{is_unsafe, safe},
};
use serde::Serialize;

pub use exit::{end_by, fail, refuse, report_panics};
pub use progress::{ProgressLine, listener};

/// Print an answer to stdout, with a newline at its end. A reader who has gone (`prunelens … | head`) is no error.
pub fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(newline.as_bytes())).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::invalid(format!("cannot write the answer to stdout: {e}"))),
    }
}

/// An answer that can be had as JSON, or else as text for people.
pub fn answer_as(as_json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if as_json { answer(&json(value)?) } else { answer(&printable(&text())) }
}

/// Things that stop nothing, to stderr, a line each: the answer on stdout stays what it is.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {}", printable(warning));
    }
}

/// A line on stderr for who cannot see progress.
pub fn note(text: &str) {
    eprintln!("prunelens: {}", printable(text));
}

/// What `work` writes, as the answer, once it is done: a failure never leaves half an answer behind.
pub fn answer_with(work: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut text = Vec::new();
    work(&mut text)?;
    answer(&String::from_utf8_lossy(&text))
}

/// The same while `work` goes on: what it writes is there at once. It ends early for a reader who has gone.
pub fn answer_as_it_comes(work: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    struct Stdout {
        reader_gone: bool,
    }
    impl Write for Stdout {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let written = std::io::stdout().write(bytes);
            self.reader_gone |= written.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            written
        }

        fn flush(&mut self) -> std::io::Result<()> {
            let flushed = std::io::stdout().flush();
            self.reader_gone |= flushed.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            flushed
        }
    }
    let mut out = Stdout { reader_gone: false };
    let done = work(&mut out);
    if out.reader_gone { Ok(()) } else { done }
}

/// JSON, indented. Characters that a terminal would act on are written as JSON escapes, which mean the same.
pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(escaped).map_err(|e| Error::invalid(format!("cannot write JSON: {e}")))
}

/// The same on one line.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map(escaped).map_err(|e| Error::invalid(format!("cannot write JSON: {e}")))
}

fn escaped(text: String) -> String {
    if !text.contains(|c| c != '\n' && is_unsafe(c)) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if c != '\n' && is_unsafe(c) {
            // Only strings can hold such a character, and all of them lie in the basic plane.
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Several lines fit to show: unsafe characters as escapes, newlines kept. File names, tokens and tensor names may hold
/// anything.
pub fn printable(text: &str) -> String {
    text.split('\n').map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_written_out() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c\r\n"), "a\\u{1b}[31mb\\u{202e}c\\r\n");
        assert_eq!(printable("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
        assert_eq!(printable("plain · text"), "plain · text");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "name\u{9b}": ["a\x1b\n\u{202e}", 1.5] });
        let text = json(&value).unwrap();
        assert!(text.contains("\\u009b") && text.contains("\\u202e") && text.contains("\\u001b"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
