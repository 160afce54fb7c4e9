//! The command palette.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::{action::TITLE, palette},
        state::State,
        theme::{Role, Theme},
        view::footer::ascii_arrows,
        widgets::{self, line_at, popup, put, put_right, skip},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, query: &str, selected: usize, theme: &Theme) -> Position {
    let entries = palette::find(&state.keymap, query);
    let height = (area.height * 2 / 3).clamp(8, 22);
    let at = popup(area, 76, height, buffer);
    let inside = widgets::Panel::new("commands", true).render(at, buffer, theme);
    let query = safe::end(&safe::line(query), usize::from(inside.width).saturating_sub(4));
    put(buffer, inside, Line::from(vec![Span::styled(" : ", theme.style(Role::Key)), Span::raw(query.clone())]));
    let list = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
    let visible = usize::from(list.height);
    let selected = selected.min(entries.len().saturating_sub(1));
    let first = widgets::offset(selected, entries.len(), visible);
    for (row, entry) in entries.iter().enumerate().skip(first).take(visible) {
        let line = line_at(list, (row - first) as u16);
        let keys: Vec<_> = entry.keys.iter().take(2).map(ToString::to_string).collect();
        let keys = if theme.ascii { ascii_arrows(&keys.join(" ")) } else { keys.join(" ") };
        let room = usize::from(list.width).saturating_sub(TITLE + 4 + safe::width(&keys));
        let mark = if row == selected { theme.symbol("▸", ">") } else { " " };
        put(
            buffer,
            line,
            Line::from(vec![
                Span::styled(format!("{mark} "), theme.style(Role::Accent)),
                Span::raw(format!("{:<TITLE$}", entry.spec.title)),
                Span::styled(safe::cut(entry.spec.description, room, theme.ascii), theme.style(Role::Muted)),
            ]),
        );
        put_right(buffer, line, Line::styled(format!("{keys} "), theme.style(Role::Key)));
        if row == selected {
            widgets::select(buffer, line, theme);
        }
    }
    if entries.is_empty() {
        put(buffer, skip(list, 3), Line::styled("no command matches", theme.style(Role::Muted)));
    }
    widgets::scrollbar(buffer, at, entries.len(), visible, first, theme);
    let column = inside.x + 3 + safe::width(&query) as u16;
    Position::new(column.min(inside.right().saturating_sub(1)), inside.y)
}
