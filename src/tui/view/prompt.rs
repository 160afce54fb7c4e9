//! The prompt editor.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};
use unicode_segmentation::UnicodeSegmentation;

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Panel, State},
        theme::{Role, Theme},
        widgets::{self, line_at, put},
    },
};

/// Examples offered while there is nothing to compare.
const EXAMPLES: usize = 3;

/// Lines the prompt wants inside its frame.
pub fn height(state: &State, width: u16, height: u16) -> u16 {
    if state.prompt.is_blank() {
        let examples = state.info.as_ref().map_or(0, |i| i.examples.len().min(EXAMPLES)) as u16;
        let offer = u16::from(state.offered.is_some() && state.info.is_some());
        return if height >= 22 { 1 + examples + offer } else { 1 };
    }
    let most = if height >= 30 { 4 } else { 2 };
    let lines = Lines::new(state, width.saturating_sub(4));
    (lines.rows.len() as u16).clamp(1, most) + u16::from(state.pair.is_some())
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    let focused = state.focus == Panel::Prompt;
    let note = if state.awaits_enter() {
        let key = state.keymap.key_of(Action::Submit, &[Context::Prompt]);
        format!("{key} compares")
    } else {
        // A low screen has no line for the second prompt.
        let pair = state.pair.as_ref().filter(|_| area.height <= 3);
        pair.map_or_else(String::new, |pair| {
            format!("2nd  {}", safe::cut(&safe::line(&pair.text), usize::from(area.width / 2), theme.ascii))
        })
    };
    let inside = widgets::Panel::new("prompt", focused).note(note).render(area, buffer, theme);
    let text = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let text = second(text, buffer, state, theme);
    if state.prompt.is_blank() {
        examples(text, buffer, state, theme, focused);
        return focused.then_some(text.as_position());
    }
    let lines = Lines::new(state, text.width);
    let first = widgets::offset(lines.cursor.0, lines.rows.len(), usize::from(text.height));
    for (at, row) in lines.rows.iter().skip(first).take(usize::from(text.height)).enumerate() {
        put(buffer, line_at(text, at as u16), row.as_str());
    }
    let (row, column) = (lines.cursor.0 - first, lines.cursor.1);
    let seen = focused && row < usize::from(text.height);
    seen.then(|| Position::new(text.x + (column as u16).min(text.width), text.y + row as u16))
}

/// The second prompt, in the last line where there is more than one; returns what is left for the first.
fn second(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Rect {
    let Some(pair) = state.pair.as_ref().filter(|_| area.height > 1) else { return area };
    let last = line_at(area, area.height - 1);
    let name = "2nd  ";
    let room = usize::from(last.width).saturating_sub(name.len());
    let text = safe::cut(&safe::line(&pair.text), room, theme.ascii);
    put(
        buffer,
        last,
        Line::from(vec![Span::styled(name, theme.style(Role::Key)), Span::styled(text, theme.style(Role::Muted))]),
    );
    Rect { height: area.height - 1, ..area }
}

fn examples(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme, focused: bool) {
    let hint = match (state.has_session(), focused) {
        (false, _) if !state.takes_text() => "",
        (false, _) => " type a prompt: it is compared as soon as the session is loaded",
        (true, true) => " type a prompt, or take an example by its number",
        (true, false) => " take an example by its number",
    };
    put(buffer, area, Line::styled(hint, theme.style(Role::Muted)));
    let examples = state.info.iter().flat_map(|i| &i.examples).take(EXAMPLES);
    for (at, example) in examples.enumerate() {
        let key = Span::styled(format!(" {} ", at + 1), theme.style(Role::Key));
        put(buffer, line_at(area, at as u16 + 1), Line::from(vec![key, Span::raw(safe::line(example))]));
    }
    if let (Some(view), Some(info)) = (&state.offered, &state.info) {
        let key = Span::styled(" 0 ", theme.style(Role::Key));
        let muted = |text: String| Span::styled(text, theme.style(Role::Muted));
        let about = format!("  as you left it: {}", view.summary());
        let room = usize::from(area.width).saturating_sub(4 + safe::width(&about));
        let prompt = safe::cut(&safe::line(&view.prompt), room, theme.ascii);
        let row = line_at(area, info.examples.len().min(EXAMPLES) as u16 + 1);
        put(buffer, row, Line::from(vec![key, Span::raw(prompt), muted(about)]));
    }
}

/// The prompt cut into lines that fit, and where the cursor is in them.
struct Lines {
    rows: Vec<String>,
    cursor: (usize, usize),
}

impl Lines {
    fn new(state: &State, width: u16) -> Self {
        let width = usize::from(width).max(2);
        let cursor = state.prompt.area.cursor();
        let mut lines = Self { rows: Vec::new(), cursor: (0, 0) };
        for (at, text) in state.prompt.area.lines().iter().enumerate() {
            lines.push(text, (at == cursor.0).then_some(cursor.1), width);
        }
        lines
    }

    /// Cuts a line after spaces where that is possible. Indices of characters, as the editor counts, become cells.
    fn push(&mut self, text: &str, cursor: Option<usize>, width: usize) {
        let mut row = String::new();
        let (mut used, mut chars) = (0, 0);
        for word in text.split_word_bounds() {
            let shown = shown(word);
            let cells = safe::width(&shown);
            if used + cells > width && used > 0 && cells <= width && !word.trim().is_empty() {
                self.rows.push(std::mem::take(&mut row));
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let shown = self::shown(grapheme);
                let cells = safe::width(&shown);
                if used + cells > width {
                    self.rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                let count = grapheme.chars().count();
                if cursor.is_some_and(|c| (chars..chars + count).contains(&c)) {
                    self.cursor = (self.rows.len(), used);
                }
                chars += count;
                used += cells;
                row.push_str(&shown);
            }
        }
        if cursor.is_some_and(|c| c >= chars) {
            // The cursor behind the last character of a full line stands at the start of the next.
            if used >= width {
                self.rows.push(std::mem::take(&mut row));
                used = 0;
            }
            self.cursor = (self.rows.len(), used);
        }
        self.rows.push(row);
    }
}

fn shown(text: &str) -> String {
    if text.contains('\t') { text.replace('\t', "  ") } else { safe::line(text) }
}
