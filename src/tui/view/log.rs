//! All messages, in full.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Level, State},
        theme::{Role, Theme},
        view::frame,
        widgets::{self, format, line_at, put, wrap},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let inside = widgets::Panel::new("log", true).render(middle, buffer, theme);
    let mut lines = Vec::new();
    for entry in &state.log.entries {
        let (role, name) = match entry.level {
            Level::Info => (Role::Text, "info"),
            Level::Warning => (Role::Warning, "warning"),
            Level::Error => (Role::Error, "error"),
        };
        let rows = wrap(&safe::line(&entry.text), usize::from(inside.width).saturating_sub(19));
        for (at, row) in rows.into_iter().enumerate() {
            let (time, name) = if at == 0 { (format::time(entry.at.as_secs_f64()), name) } else { (String::new(), "") };
            lines.push(Line::from(vec![
                Span::styled(format!(" {time:>7}  "), theme.style(Role::Muted)),
                Span::styled(format!("{name:<8} "), theme.style(role)),
                Span::raw(row),
            ]));
        }
    }
    if lines.is_empty() {
        lines.push(Line::styled(" nothing has happened that needs saying", theme.style(Role::Muted)));
    }
    let visible = usize::from(inside.height);
    let rows = lines.len();
    let first = state.scroll.min(rows.saturating_sub(visible));
    for (at, line) in lines.into_iter().skip(first).take(visible).enumerate() {
        put(buffer, line_at(inside, at as u16), line);
    }
    widgets::scrollbar(buffer, middle, rows, visible, first, theme);
}
