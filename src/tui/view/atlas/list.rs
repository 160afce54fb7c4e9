//! The latents that are looked at, in the order of a column.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{fate_style, letter};
use crate::{
    safe,
    tui::{
        state::{State, atlas::Drawn},
        theme::{Role, Theme},
        widgets::{self, format, line_at, put, skip},
    },
};

/// The row of the list at a line of the screen.
pub fn row_at(panel: Rect, state: &State, y: u16) -> Option<usize> {
    let drawn = state.atlas.drawn.as_ref()?;
    let line = y.checked_sub(panel.y + 2).filter(|_| y + 1 < panel.bottom())?;
    Some(first(panel, state, drawn) + usize::from(line)).filter(|row| *row < drawn.list.len())
}

fn visible(panel: Rect) -> usize {
    usize::from(panel.height.saturating_sub(3))
}

fn first(panel: Rect, state: &State, drawn: &Drawn) -> usize {
    let at = state.latent.and_then(|latent| drawn.position(latent)).unwrap_or(0);
    widgets::offset(at, drawn.list.len(), visible(panel))
}

pub fn render(panel: Rect, buffer: &mut Buffer, state: &State, drawn: &Drawn, theme: &Theme) {
    let view = &state.atlas;
    let arrow = if view.ascending { theme.symbol("▲", "^") } else { theme.symbol("▼", "v") };
    let column = safe::line(view.name(view.rank));
    let title = format!("{} by {column} {arrow}", format::count(drawn.list.len() as u64));
    let at = view.atlas.as_ref().map(|atlas| format!("fates at {}", safe::line(&atlas.about.at())));
    let frame = widgets::Panel::new(title, view.in_list).foot(at.unwrap_or_default(), Line::default());
    let inside = frame.render(panel, buffer, theme);
    let muted = theme.style(Role::Muted);
    put(buffer, inside, Line::styled(format!("  {:<8}{:>9}  fate, name", "latent", "value"), muted));
    if drawn.list.is_empty() {
        let text = "no latent is left: Backspace shows all again";
        return put(buffer, skip(line_at(inside, 1), 1), Line::styled(text, muted));
    }
    let from = first(panel, state, drawn);
    for (at, (latent, value)) in drawn.list.iter().enumerate().skip(from).take(visible(panel)) {
        let line = line_at(inside, (at - from) as u16 + 1);
        let selected = state.latent == Some(*latent);
        let fate = view.atlas.as_ref().and_then(|atlas| atlas.fates.get(*latent as usize)).copied();
        let name = state.called(*latent).map(|(name, _)| format!("  {}", safe::line(name))).unwrap_or_default();
        let mut spans = vec![
            Span::styled(if selected { theme.symbol("▸ ", "> ") } else { "  " }, theme.style(Role::Accent)),
            Span::raw(format!("{:<8}{:>9}  ", format!("#{latent}"), format::figure(*value))),
        ];
        if let Some(fate) = fate {
            spans.push(Span::styled(letter(fate), fate_style(fate, theme)));
            spans.push(Span::styled(format!(" {}", fate.name()), muted));
        }
        spans.push(Span::raw(name));
        put(buffer, line, Line::from(spans));
        if selected {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, panel, drawn.list.len(), visible(panel), from, theme);
}
