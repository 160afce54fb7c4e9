//! Looking for a latent: what is typed, and what was found for it.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Find, State},
        theme::{Role, Theme},
        widgets::{self, line_at, popup, put, skip},
    },
};

/// Rows of the list.
const LISTED: u16 = 14;

/// What can be looked for, by example.
fn kinds(last: usize) -> [(&'static str, String); 4] {
    [
        ("1077", format!("by its number, to {last}")),
        ("navy", "by its name, a word it fires on, or whose logit it raises".into()),
        ("~1077", "those whose decoder rows are most like that of #1077".into()),
        ("died", "weakened, grew, new: what became of it, of those in the table".into()),
    ]
}

/// What the list does not say.
fn remark(state: &State, find: &Find, nothing: bool, last: usize) -> Option<String> {
    let beyond = |latent: u32| latent as usize > last;
    if find.number().or(find.like()).is_some_and(beyond) {
        return Some(format!("latents go to #{last}"));
    }
    let reading = match state.read {
        Some((read, of)) => format!("{read} of {of} rows of the corpus are read"),
        None => "the corpus is still being read".into(),
    };
    let none = find.none((&state.table.rows, state.table.whole));
    match (none, nothing) {
        (Some(none), true) if find.waiting => Some(format!("{none}; looking for the word")),
        (Some(none), true) => Some(format!("{none}, and nothing was found for the word")),
        (Some(none), false) => Some(format!("{none}; for the word:")),
        (None, true) if find.go => Some("looking through corpus and output matrix, and then there".into()),
        (None, true) if find.waiting => Some("looking through corpus and output matrix".into()),
        (None, true) if state.indexing && find.like().is_none() => Some(format!("nothing found so far: {reading}")),
        (None, true) => Some("nothing found".into()),
        (None, false) => None,
    }
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, find: &Find, theme: &Theme) -> Position {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let found = find.found(d_sae, (&state.table.rows, state.table.whole), &state.names, &state.explained);
    let at = popup(area, 76, LISTED + 4, buffer);
    let note = if find.waiting { widgets::spinner(state.spin(), theme.ascii) } else { "" };
    let inside = skip(widgets::Panel::new("find a latent", true).note(note).render(at, buffer, theme), 1);
    let query = safe::end(&safe::line(&find.query), usize::from(inside.width).saturating_sub(3));
    put(buffer, inside, Line::from(vec![Span::styled("/ ", theme.style(Role::Key)), Span::raw(query.clone())]));
    let muted = theme.style(Role::Muted);
    let last = d_sae.saturating_sub(1);
    if find.query.trim().is_empty() {
        for (row, (example, what)) in kinds(last).into_iter().enumerate() {
            let line = vec![Span::styled(format!("{example:<9}"), theme.style(Role::Key)), Span::styled(what, muted)];
            put(buffer, line_at(inside, row as u16 + 2), Line::from(line));
        }
    } else if let Some(text) = remark(state, find, found.is_empty(), last) {
        put(buffer, line_at(inside, 1), Line::styled(text, muted));
    }
    let visible = usize::from(inside.height.saturating_sub(2));
    let first = widgets::offset(find.selected, found.len(), visible);
    for (row, (n, hit)) in found.iter().enumerate().skip(first).take(visible).enumerate() {
        let line = line_at(inside, row as u16 + 2);
        let room = usize::from(line.width).saturating_sub(9);
        put(
            buffer,
            line,
            Line::from(vec![
                Span::raw(format!("{:<9}", format!("#{}", hit.latent))),
                Span::styled(safe::cut(&safe::line(&hit.why), room, theme.ascii), muted),
            ]),
        );
        if n == find.selected {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, at, found.len(), visible, first, theme);
    Position::new((inside.x + 2 + safe::width(&query) as u16).min(inside.right().saturating_sub(1)), inside.y)
}
