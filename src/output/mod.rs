//! The way out to the person: answers to stdout, messages without control characters.

mod exit;
mod progress;

use std::io::Write;

pub use exit::{fail, refuse, report_panics};
pub use progress::{ProgressLine, listener};

use crate::{
    error::{Error, Result},
    text::safe,
};

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
}
