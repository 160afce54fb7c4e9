//! The way out to the person: answers to stdout, messages without control characters.

mod exit;
mod progress;

use std::{borrow::Cow, io::Write};

pub use exit::{fail, refuse, report_panics};
pub use progress::ProgressLine;

use crate::error::{Error, Result};

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

/// `text` with everything that a terminal would act on written out: control characters (other than newline) and those
/// that change the direction of text. File names, tokens and tensor names may hold either.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts_on_terminal(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn acts_on_terminal(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_written_out() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c\r\n"), "a\\u{1b}[31mb\\u{202e}c\\r\n");
        assert_eq!(printable("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
        assert!(matches!(printable("plain · text"), Cow::Borrowed(_)));
    }
}
