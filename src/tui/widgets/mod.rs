//! Pieces of a screen that know nothing of the state. Every one clips to the area it is given.

pub mod bars;
pub mod chart;
pub mod format;

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Margin, Rect},
    style::{Color, Modifier, Style},
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget, Widget},
};

use crate::{
    safe,
    tui::theme::{Role, Theme},
};

/// Borders drawn with ASCII.
const ASCII_BORDER: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Line `at` of an area; empty beyond it.
pub fn line_at(area: Rect, at: u16) -> Rect {
    if at < area.height { Rect { y: area.y + at, height: 1, ..area } } else { Rect { height: 0, ..area } }
}

/// An area without its first `cells` columns.
pub fn skip(area: Rect, cells: u16) -> Rect {
    let cells = cells.min(area.width);
    Rect { x: area.x + cells, width: area.width - cells, ..area }
}

/// Draw a line in the first row of an area, at the start or as it is aligned, cut to the area. Cells beside it keep
/// their style: a line's own would colour the whole row.
pub fn put<'a>(buffer: &mut Buffer, area: Rect, line: impl Into<Line<'a>>) {
    let line = line.into();
    let width = (line.width() as u16).min(area.width);
    let before = match line.alignment {
        Some(Alignment::Right) => area.width - width,
        Some(Alignment::Center) => (area.width - width) / 2,
        _ => 0,
    };
    let place = Rect { x: area.x + before, width, height: area.height.min(1), ..area };
    line.left_aligned().render(place, buffer);
}

/// Draw a line at the end of an area's first row.
pub fn put_right<'a>(buffer: &mut Buffer, area: Rect, line: impl Into<Line<'a>>) {
    put(buffer, area, line.into().right_aligned());
}

/// Mark a drawn row as the selected one. Reversed, its colours would become a patchwork: there it has none.
pub fn select(buffer: &mut Buffer, row: Rect, theme: &Theme) {
    let selection = theme.style(Role::Selection);
    if selection.add_modifier.contains(Modifier::REVERSED) {
        buffer.set_style(row, Style::new().fg(Color::Reset).remove_modifier(Modifier::DIM));
    }
    buffer.set_style(row, selection);
}

/// A framed part of the screen.
pub struct Panel<'a> {
    pub title: Line<'a>,
    /// At the right end of the upper border.
    pub note: Line<'a>,
    /// At both ends of the lower border.
    pub foot: (Line<'a>, Line<'a>),
    pub focused: bool,
}

impl<'a> Panel<'a> {
    pub fn new(title: impl Into<Line<'a>>, focused: bool) -> Self {
        Self { title: title.into(), note: Line::default(), foot: (Line::default(), Line::default()), focused }
    }

    pub fn note(mut self, note: impl Into<Line<'a>>) -> Self {
        self.note = note.into();
        self
    }

    pub fn foot(mut self, left: impl Into<Line<'a>>, right: impl Into<Line<'a>>) -> Self {
        self.foot = (left.into(), right.into());
        self
    }

    /// Draws the frame; returns what is inside.
    pub fn render(self, area: Rect, buffer: &mut Buffer, theme: &Theme) -> Rect {
        let (border, title) =
            if self.focused { (Role::BorderFocus, Role::TitleFocus) } else { (Role::Border, Role::Title) };
        let set = if theme.ascii { ASCII_BORDER } else { border::ROUNDED };
        let mut block = Block::bordered().border_set(set).border_style(theme.style(border));
        // Titles stand on the border's row but are not of its colour.
        let plain = |role| Style::new().fg(Color::Reset).patch(theme.style(role));
        let muted = plain(Role::Muted);
        let pad = |line: Line<'a>, style: Style| {
            let mut line = line;
            line.spans.insert(0, " ".into());
            line.spans.push(" ".into());
            line.style = style.patch(line.style);
            line
        };
        let used = |line: &Line| line.width() as u16 + 2;
        let fit = |line: Line<'a>| fit(line, usize::from(area.width.saturating_sub(4)), theme.ascii);
        // What does not fit beside the title stays away instead of running into it.
        let room = area.width.saturating_sub(used(&self.title) + 3);
        if self.title.width() > 0 {
            block = block.title_top(pad(fit(self.title), plain(title)));
        }
        if self.note.width() > 0 && used(&self.note) <= room {
            block = block.title_top(pad(self.note, muted).right_aligned());
        }
        let (left, right) = self.foot;
        let room = area.width.saturating_sub(used(&left) + 3);
        if left.width() > 0 {
            block = block.title_bottom(pad(fit(left), muted));
        }
        if right.width() > 0 && used(&right) <= room {
            block = block.title_bottom(pad(right, muted).right_aligned());
        }
        let inside = block.inner(area);
        block.render(area, buffer);
        inside
    }
}

/// As much of a line as so many cells take, with a mark where something was left out.
fn fit(line: Line<'_>, cells: usize, ascii: bool) -> Line<'_> {
    if line.width() <= cells {
        return line;
    }
    let mut out = Line { spans: Vec::new(), ..line };
    let mut left = cells;
    for span in line.spans {
        if span.width() >= left {
            // One cell more than there are, so that a span that would just fit ends with the mark as well.
            out.spans.push(Span { content: safe::cut(&format!("{} ", span.content), left, ascii).into(), ..span });
            break;
        }
        left -= span.width();
        out.spans.push(span);
    }
    out
}

/// A cleared box in the middle of an area, for overlays.
pub fn popup(area: Rect, width: u16, height: u16, buffer: &mut Buffer) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let at = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(at, buffer);
    at
}

/// A thumb on the right border of a panel whose content does not fit.
pub fn scrollbar(buffer: &mut Buffer, panel: Rect, rows: usize, visible: usize, offset: usize, theme: &Theme) {
    if rows <= visible || panel.height < 4 {
        return;
    }
    let (thumb, track) = if theme.ascii { ("#", "|") } else { ("┃", "│") };
    let mut state = ScrollbarState::new(rows.saturating_sub(visible)).position(offset).viewport_content_length(visible);
    Scrollbar::new(ScrollbarOrientation::VerticalRight)
        .begin_symbol(None)
        .end_symbol(None)
        .thumb_symbol(thumb)
        .track_symbol(Some(track))
        .thumb_style(theme.style(Role::Muted))
        .track_style(theme.style(Role::Border))
        .render(panel.inner(Margin { horizontal: 0, vertical: 1 }), buffer, &mut state);
}

/// The first row to draw so that `selected` is seen, in the middle where there is more on both sides.
pub fn offset(selected: usize, rows: usize, visible: usize) -> usize {
    selected.saturating_sub(visible / 2).min(rows.saturating_sub(visible))
}

/// A frame of the sign that something is being worked on.
pub fn spinner(frame: usize, ascii: bool) -> &'static str {
    const BRAILLE: [&str; 8] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠇"];
    const ASCII: [&str; 4] = ["|", "/", "-", "\\"];
    if ascii { ASCII[frame % ASCII.len()] } else { BRAILLE[frame % BRAILLE.len()] }
}

/// Text cut into lines of at most `width` cells, at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let gap = usize::from(!line.is_empty());
            if crate::safe::width(&line) + gap + crate::safe::width(&word) <= width.max(1) {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                // A word longer than the line.
                let (head, tail) = split_at(&word, width.max(1));
                lines.push(head);
                word = tail;
                if word.is_empty() {
                    break;
                }
            } else {
                lines.push(std::mem::take(&mut line));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The first `cells` cells of a text, at least one grapheme, and the rest.
fn split_at(text: &str, cells: usize) -> (String, String) {
    use unicode_segmentation::UnicodeSegmentation;
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += crate::safe::width(grapheme);
        if used > cells && at > 0 {
            return (text[..at].to_owned(), text[at..].to_owned());
        }
    }
    (text.to_owned(), String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_at_spaces_and_inside_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本語", 1), ["日", "本", "語"]);
        assert!(wrap("  ", 5).is_empty());
    }

    #[test]
    fn the_selected_row_is_always_seen() {
        for rows in 0..30 {
            for visible in 1..12 {
                for selected in 0..rows {
                    let first = offset(selected, rows, visible);
                    assert!(first <= selected && selected < first + visible);
                }
            }
        }
    }
}
