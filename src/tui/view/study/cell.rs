//! The selected cell: what became of it, by whom, and its figures.

use prunelens_core::compare::Variant;
use prunelens_metrics::{MetricTable, Run};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{squares::sign, words};
use crate::{
    safe,
    study::squares::{Overview, Square},
    tui::{
        state::State,
        theme::{Role, Theme},
        widgets::{self, format, line_at, put},
    },
};

/// Cells of a value, and of a figure's name at least.
const VALUE: usize = 10;
const NAME: usize = 22;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, overview: &Overview, theme: &Theme) {
    let view = &state.study;
    let column = overview.columns.get(view.column).map(|column| safe::line(&column.name)).unwrap_or_default();
    let inside = widgets::Panel::new(column, false).render(area, buffer, theme);
    let muted = theme.style(Role::Muted);
    let name = overview.names.get(view.row).map(String::as_str).unwrap_or_default();
    let mut used = words(Rect { height: inside.height.min(2), ..inside }, buffer, name, muted);
    let Some(square) = view.square() else {
        let rest = below(inside, used);
        words(rest, buffer, "this session has no such cell", muted);
        return;
    };
    let worker = overview.rows.get(view.row).and_then(|row| row.worker.as_deref());
    let run = view.run();
    let said = match (square, run) {
        (Square::Done, Some(Ok(run))) => format!("measured in {}", format::time(run.seconds)),
        (Square::Done, Some(Err(why))) => format!("its result cannot be read: {why}"),
        (Square::Done, None) => "its result is being read".into(),
        (Square::Working(share), _) => {
            let share = share.map(|share| format!(", {} at its last checkpoint", format::percent(share)));
            format!("being measured by {}{}", worker.unwrap_or("somebody"), share.unwrap_or_default())
        }
        (Square::Waiting, _) => match worker {
            Some(worker) => format!("to do; {worker} works on this session"),
            None => "to do; nobody works on this session".into(),
        },
        (Square::Failed(why), _) => format!("failed, and is tried again by the next run: {why}"),
    };
    let role = match (square, run) {
        (Square::Failed(_), _) | (_, Some(Err(_))) => Role::Error,
        _ => Role::Text,
    };
    let (sign, _) = sign(square, theme);
    used += words(below(inside, used), buffer, &format!("{sign} {said}"), theme.style(role));
    if let Some(Ok(run)) = run {
        figures(below(inside, used), buffer, run, theme);
    }
}

fn below(area: Rect, used: u16) -> Rect {
    let used = used.min(area.height);
    Rect { y: area.y + used, height: area.height - used, ..area }
}

/// The first figures, of as many variants as there is room for.
fn figures(area: Rect, buffer: &mut Buffer, run: &Run, theme: &Theme) {
    let table: &MetricTable = &run.table;
    if area.height < 2 || table.rows.is_empty() {
        return;
    }
    let room = usize::from(area.width).saturating_sub(2);
    let n = (room.saturating_sub(NAME) / VALUE).clamp(1, table.variants.len().max(1));
    let name = room.saturating_sub(n * VALUE);
    // Where not all fit, what pruning made of it says most.
    let mut shown: Vec<usize> = (0..table.variants.len()).collect();
    shown.sort_by_key(|at| table.variants[*at] != Variant::Pruned);
    shown.truncate(n);
    shown.sort_unstable();
    let mut head = vec![Span::raw(" ".repeat(name + 1))];
    for at in &shown {
        let variant = table.variants[*at];
        head.push(Span::styled(format!("{:>VALUE$}", variant.name()), theme.style(variant)));
    }
    put(buffer, area, Line::from(head));
    for (at, row) in table.rows.iter().enumerate().take(usize::from(area.height) - 1) {
        let text = safe::cut(&safe::line(&row.name), name.saturating_sub(1), theme.ascii);
        let pad = " ".repeat(name.saturating_sub(safe::width(&text)));
        let mut line = vec![Span::styled(format!(" {text}{pad}"), theme.style(Role::Muted))];
        for variant in &shown {
            let value = row.values.get(*variant).copied().flatten().filter(|value| value.is_finite());
            line.push(Span::raw(format!("{:>VALUE$}", value.map_or("-".to_owned(), format::figure))));
        }
        put(buffer, line_at(area, at as u16 + 1), Line::from(line));
    }
}
