//! The line that says what session to open, with what its last word can go on to.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{OpenLine, State, Wanted},
        theme::{Role, Theme},
        widgets::{self, line_at, popup, put, skip, wrap},
    },
};

/// Rows of the list.
const LISTED: u16 = 10;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, line: &OpenLine, theme: &Theme) -> Position {
    let at = popup(area, 96, LISTED + 6, buffer);
    let (title, command, empty, foot) = match line.wanted {
        Wanted::Session => (
            "open another session",
            ":open ",
            "flags as at the start, or the name of a preset or session file",
            "Tab takes the selected word, Enter opens; what is not named stays as it is",
        ),
        Wanted::Study => (
            "look at a study",
            ":study ",
            "the folder that `prunelens study run` was given as --out",
            "Tab takes the selected folder, Enter opens it",
        ),
    };
    let inside = skip(widgets::Panel::new(title, true).render(at, buffer, theme), 1);
    let width = usize::from(inside.width).saturating_sub(2);
    let muted = theme.style(Role::Muted);
    let shown = safe::end(&safe::line(&line.text), width.saturating_sub(command.len()));
    put(buffer, inside, Line::from(vec![Span::styled(command, theme.style(Role::Key)), Span::raw(shown.clone())]));
    let now = state.info.as_ref().filter(|_| state.has_session() && line.wanted == Wanted::Session);
    let words = now.map(|info| format!("now {}", safe::line(&info.label()))).unwrap_or_default();
    put(buffer, line_at(inside, 1), Line::styled(safe::cut(&words, width, theme.ascii), muted));
    let list = Rect { y: inside.y + 3, height: inside.height.saturating_sub(4), ..inside };
    if let Some(wrong) = &line.wrong {
        for (at, text) in wrap(&safe::line(wrong), width).into_iter().take(usize::from(list.height)).enumerate() {
            put(buffer, line_at(list, at as u16), Line::styled(text, theme.style(Role::Error)));
        }
    } else {
        let visible = usize::from(list.height);
        let first = widgets::offset(line.selected, line.found.len(), visible);
        for (at, word) in line.found.iter().enumerate().skip(first).take(visible) {
            let row = line_at(list, (at - first) as u16);
            put(buffer, row, Line::raw(safe::end(&safe::line(word), width)));
            if at == line.selected {
                widgets::select(buffer, row, theme);
            }
        }
        if line.found.is_empty() && line.text.trim().is_empty() {
            put(buffer, list, Line::styled(empty, muted));
        }
        widgets::scrollbar(buffer, at, line.found.len(), visible, first, theme);
    }
    put(
        buffer,
        line_at(inside, inside.height.saturating_sub(1)),
        Line::styled(safe::cut(foot, width, theme.ascii), muted),
    );
    let column = inside.x + command.len() as u16 + safe::width(&shown) as u16;
    Position::new(column.min(inside.right().saturating_sub(1)), inside.y)
}
