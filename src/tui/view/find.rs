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

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, find: &Find, theme: &Theme) -> Position {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let found = find.found(d_sae, (&state.table.rows, state.table.whole), &state.names, &state.explained);
    let at = popup(area, 76, LISTED + 4, buffer);
    let note = if find.waiting { widgets::spinner(state.spin(), theme.ascii) } else { "" };
    let inside = skip(widgets::Panel::new("find a latent", true).note(note).render(at, buffer, theme), 1);
    let query = safe::end(&safe::line(&find.query), usize::from(inside.width).saturating_sub(3));
    put(buffer, inside, Line::from(vec![Span::styled("/ ", theme.style(Role::Key)), Span::raw(query.clone())]));
    let muted = theme.style(Role::Muted);
    if found.is_empty() {
        let text = match find.query.trim().is_empty() {
            true => format!("a number to {}, a name, a word, or died, weakened, grew, new", d_sae.saturating_sub(1)),
            false if find.number().is_some() => format!("latents go to #{}", d_sae.saturating_sub(1)),
            false if find.waiting => "looking through corpus and output matrix".into(),
            false if state.indexing => "nothing found so far: the corpus is still being read".into(),
            false => "nothing found".into(),
        };
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
