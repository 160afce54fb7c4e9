//! Text from files, tokens and names, made safe to draw: nothing that a terminal would act on gets through.

use std::fmt::Write;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Width in cells, by whole graphemes.
pub fn width(text: &str) -> usize {
    text.graphemes(true).map(|g| g.width()).sum()
}

/// A token's bytes for display: spaces, newlines and tabs made visible, bytes that are not UTF-8 as `\xNN`, control and
/// bidirectional characters escaped.
pub fn piece(bytes: &[u8], ascii: bool) -> String {
    let marks = if ascii {
        Marks { space: "_", newline: "\\n", tab: "\\t" }
    } else {
        Marks { space: "·", newline: "⏎", tab: "⇥" }
    };
    let mut out = String::with_capacity(bytes.len() + 2);
    for chunk in bytes.utf8_chunks() {
        push_text(&mut out, chunk.valid(), Some(&marks), ascii);
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A name or message: as it is, with control and bidirectional characters escaped and line breaks as spaces.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_text(&mut out, &text.replace(['\n', '\t'], " "), None, false);
    out
}

/// The bytes of a text around a token, on one line.
pub fn excerpt(bytes: &[u8], ascii: bool) -> String {
    let marks = Marks { space: " ", newline: if ascii { "\\n" } else { "⏎" }, tab: " " };
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        push_text(&mut out, chunk.valid(), Some(&marks), ascii);
        if !chunk.invalid().is_empty() {
            out.push(if ascii { '?' } else { '�' });
        }
    }
    out
}

/// What a user pastes or types: line breaks and tabs stay, other control characters go.
pub fn input(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
        .collect()
}

/// Cut to at most `cells`, whole graphemes, with `…` (or `~`) where something was left out.
pub fn cut(text: &str, cells: usize, ascii: bool) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mark = if ascii { "~" } else { "…" };
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let next = grapheme.width();
        if used + next + 1 > cells {
            break;
        }
        out.push_str(grapheme);
        used += next;
    }
    if cells > 0 {
        out.push_str(mark);
    }
    out
}

/// The end of a text, at most `cells` wide.
pub fn end(text: &str, cells: usize) -> String {
    let mut used = 0;
    let mut start = text.len();
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        used += grapheme.width();
        if used > cells {
            break;
        }
        start = at;
    }
    text[start..].to_owned()
}

struct Marks {
    space: &'static str,
    newline: &'static str,
    tab: &'static str,
}

fn push_text(out: &mut String, text: &str, marks: Option<&Marks>, ascii: bool) {
    for grapheme in text.graphemes(true) {
        match (grapheme, marks) {
            (" ", Some(m)) => out.push_str(m.space),
            ("\n", Some(m)) => out.push_str(m.newline),
            ("\t", Some(m)) => out.push_str(m.tab),
            _ if grapheme.width() > 0 && !grapheme.chars().any(|c| must_escape(c, ascii) && !is_joiner(c, ascii)) => {
                out.push_str(grapheme);
            }
            // A grapheme such as CR LF, a lone joiner or an embedded control: every character by itself.
            _ => grapheme.chars().for_each(|c| push_escaped(out, c, marks)),
        }
    }
}

fn push_escaped(out: &mut String, c: char, marks: Option<&Marks>) {
    let _ = match (c, marks) {
        ('\n', Some(m)) => write!(out, "{}", m.newline),
        ('\r', _) => write!(out, "\\r"),
        (c, _) if (c as u32) < 0x100 => write!(out, "\\x{:02x}", c as u32),
        (c, _) => write!(out, "\\u{:04x}", c as u32),
    };
}

/// What joins characters into one picture; alone it is invisible.
fn is_joiner(c: char, ascii: bool) -> bool {
    !ascii && matches!(c, '\u{200c}' | '\u{200d}')
}

/// Characters that move the cursor, change direction or have no picture of their own.
fn must_escape(c: char, ascii: bool) -> bool {
    (ascii && !c.is_ascii()) || prunelens_core::text::is_unsafe(c) || matches!(c as u32, 0x61c | 0xe0000..=0xe007f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_show_what_is_invisible() {
        assert_eq!(piece(b" army", false), "·army");
        assert_eq!(piece(b"\n\t ", false), "⏎⇥·");
        assert_eq!(piece(b" a\n", true), "_a\\n");
    }

    #[test]
    fn bytes_that_are_not_text_are_spelled_out() {
        assert_eq!(piece(&[0xe2, 0x82], false), "\\xe2\\x82");
        assert_eq!(piece(&[b'a', 0xff, b'b'], false), "a\\xffb");
    }

    #[test]
    fn nothing_a_terminal_acts_on_gets_through() {
        for text in ["\u{1b}[2J", "\u{7}", "\u{9b}31m", "a\u{202e}b", "\u{200b}", "x\r\ny", "\u{feff}"] {
            for shown in [piece(text.as_bytes(), false), line(text), excerpt(text.as_bytes(), false)] {
                assert!(shown.chars().all(|c| !must_escape(c, false)), "{text:?} became {shown:?}");
            }
        }
        assert_eq!(piece("\u{1b}[2J".as_bytes(), false), "\\x1b[2J");
        assert_eq!(piece("\u{202e}".as_bytes(), false), "\\u202e");
    }

    #[test]
    fn wide_text_keeps_its_graphemes() {
        assert_eq!(piece("日本👩‍👩‍👧".as_bytes(), false), "日本👩‍👩‍👧");
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本語", 5, false), "日本…");
        assert_eq!(cut("日本語", 6, false), "日本語");
        assert_eq!(cut("abc", 0, false), "");
    }

    #[test]
    fn a_paste_keeps_its_lines_only() {
        assert_eq!(input("a\r\nb\x1b[31mc\td"), "a\nb[31mc\td");
    }
}
