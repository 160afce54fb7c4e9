//! The table of compressed copies of the model: what each makes of the prompt, as far as it was looked at.

use prunelens_core::compare::Variant;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{CopyFigures, State},
        theme::{Role, Theme},
        widgets::{self, format, line_at, popup, put},
    },
};

/// Cells of a copy's name in the narrowest case, and of a figure.
const NAME: usize = 14;
const FIGURE: usize = 10;

/// Titles of two lines, and what stands under them.
type Read = fn(&CopyFigures) -> Option<String>;
const COLUMNS: [([&str; 2], Read); 6] = [
    (["CE of", "the model"], |known| Some(format::loss(known.ce))),
    (["EV", "transfer"], |known| Some(format::loss(known.figures.of(Variant::Transfer)?.explained_variance))),
    (["EV", "pruned"], |known| Some(format::loss(known.figures.of(Variant::Pruned)?.explained_variance))),
    (["KL", "transfer"], |known| Some(format::loss(known.figures.of(Variant::Transfer)?.kl))),
    (["survive", "transfer"], |known| Some(format::percent(known.figures.share(Variant::Transfer)?))),
    (["survive", "pruned"], |known| Some(format::percent(known.figures.share(Variant::Pruned)?))),
];

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, selected: usize, theme: &Theme) {
    let copies = state.copies_here();
    let longest = copies.iter().map(|copy| copy.to_string().chars().count()).max().unwrap_or(0) + 3;
    let width = longest.max(NAME) + COLUMNS.len() * FIGURE + 3;
    let at = popup(area, width as u16, copies.len() as u16 + 6, buffer);
    let inside = widgets::Panel::new("compressed copies of the model", true).render(at, buffer, theme);
    let muted = theme.style(Role::Muted);
    let name = usize::from(inside.width).saturating_sub(COLUMNS.len() * FIGURE + 1);
    for line in 0..2 {
        let heads =
            COLUMNS.map(|(titles, _)| Span::styled(format!("{:>FIGURE$}", titles[line]), theme.style(Role::Title)));
        let blank = Span::raw(" ".repeat(name));
        put(buffer, line_at(inside, line as u16), Line::from_iter([blank].into_iter().chain(heads)));
    }
    let visible = usize::from(inside.height.saturating_sub(4));
    let first = widgets::offset(selected, copies.len(), visible);
    for (row, (at, copy)) in copies.iter().enumerate().skip(first).take(visible).enumerate() {
        let line = line_at(inside, row as u16 + 2);
        let mark = if at == state.copy_here() { theme.symbol("●", "*") } else { " " };
        let text = safe::cut(&copy.to_string(), name.saturating_sub(3), theme.ascii);
        let mut spans = vec![
            Span::styled(format!(" {mark}"), theme.style(Role::Accent)),
            Span::raw(format!(" {text:<w$}", w = name.saturating_sub(3))),
        ];
        let known = state.copy_figures(copy);
        for (titles, read) in COLUMNS {
            let value = known.and_then(read).unwrap_or_else(|| "-".to_owned());
            let fresh = titles[1] != "pruned" || known.is_some_and(|known| known.figures.setting == state.setting());
            let role = match (known, fresh) {
                (None, _) => Role::Muted,
                (Some(_), true) => Role::Text,
                (Some(_), false) => Role::Old,
            };
            spans.push(Span::styled(format!("{value:>FIGURE$}"), theme.style(role)));
        }
        put(buffer, line, Line::from(spans));
        if at == selected {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, at, copies.len(), visible, first, theme);
    let foot = inside.height.saturating_sub(1);
    put(
        buffer,
        line_at(inside, foot),
        Line::styled(" this prompt, where read; dimmed: at another setting; Enter goes there", muted),
    );
}
