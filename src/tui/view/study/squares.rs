//! The grid: a row a session, a column a measurement, a sign a cell.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
    text::{Line, Span},
};

use super::summary;
use crate::{
    safe,
    study::squares::{Overview, Square},
    tui::{
        state::State,
        theme::{Role, Theme},
        widgets::{self, line_at, put, skip},
    },
};

/// Lines above the rows.
const HEADS: u16 = 3;
/// Cells of a column at least; of the labels at least; and the share of the width that they get at most.
const NARROWEST: usize = 4;
const LABEL: usize = 8;
const LABELS: usize = 45;

/// The sign of a cell.
pub fn sign(square: &Square, theme: &Theme) -> (&'static str, Style) {
    match square {
        Square::Done => (theme.symbol("✓", "v"), theme.style(Role::Gain)),
        Square::Working(_) => (theme.symbol("◐", "*"), theme.style(Role::Accent)),
        Square::Waiting => (theme.symbol("·", "."), theme.style(Role::Muted)),
        Square::Failed(_) => (theme.symbol("✗", "x"), theme.style(Role::Error)),
    }
}

/// Where what is, in a panel's inside.
struct Layout {
    /// Cells of the labels, mark included.
    label: usize,
    /// Widths of the columns, from the first one that is drawn on.
    first: usize,
    widths: Vec<usize>,
    /// Rows from the first one that is drawn on.
    row: usize,
    visible: usize,
}

impl Layout {
    fn new(inside: Rect, state: &State, overview: &Overview) -> Self {
        let room = usize::from(inside.width);
        let longest = overview.labels.iter().map(|label| safe::width(&safe::line(label))).max().unwrap_or(0);
        let label = (longest + 3).clamp(LABEL, (room * LABELS / 100).max(LABEL));
        let all = widths(overview);
        let room = room.saturating_sub(label);
        // The selected column is seen, with as many before it as there is room for.
        let selected = state.study.column.min(all.len().saturating_sub(1));
        let total = |from: usize, to: usize| all[from..to].iter().sum::<usize>();
        let mut first = 0;
        while first < selected && total(first, selected + 1) > room {
            first += 1;
        }
        let mut used = 0;
        let fits = |width: &&usize| {
            used += **width;
            used <= room
        };
        let widths = all.iter().skip(first).take_while(fits).copied().collect();
        let visible = usize::from(inside.height.saturating_sub(HEADS));
        Self { label, first, widths, row: widgets::offset(state.study.row, overview.rows.len(), visible), visible }
    }

    /// Columns that are drawn, with where they begin.
    fn columns(&self) -> impl Iterator<Item = (usize, u16, usize)> {
        let mut x = self.label;
        self.widths.iter().enumerate().map(move |(at, width)| {
            x += width;
            (self.first + at, (x - width) as u16, *width)
        })
    }
}

/// Cells of each column: of what tells it apart, and for the last of a metric what the metric's name lacks.
fn widths(overview: &Overview) -> Vec<usize> {
    let columns = &overview.columns;
    let mut widths: Vec<usize> =
        columns.iter().map(|column| (safe::width(&safe::line(&column.rest)) + 1).max(NARROWEST)).collect();
    let mut start = 0;
    for at in 0..columns.len() {
        if columns.get(at + 1).is_none_or(|next| next.metric != columns[at].metric) {
            let name = safe::width(&safe::line(&columns[at].metric)) + 2;
            let have: usize = widths[start..=at].iter().sum();
            widths[at] += name.saturating_sub(have);
            start = at + 1;
        }
    }
    widths
}

fn inside(panel: Rect) -> Rect {
    panel.inner(ratatui::layout::Margin { horizontal: 1, vertical: 1 })
}

pub fn hit(panel: Rect, state: &State, overview: &Overview, at: Position) -> Option<(usize, usize)> {
    let inside = inside(panel);
    let layout = Layout::new(inside, state, overview);
    let line = at.y.checked_sub(inside.y + HEADS).filter(|_| at.y < inside.bottom())?;
    let row = Some(layout.row + usize::from(line)).filter(|row| *row < overview.rows.len())?;
    let x = at.x.checked_sub(inside.x).filter(|_| at.x < inside.right())?;
    let column = layout.columns().find(|(_, start, width)| (*start..*start + *width as u16).contains(&x));
    Some((row, column.map_or(state.study.column, |(column, ..)| column)))
}

pub fn render(panel: Rect, buffer: &mut Buffer, state: &State, overview: &Overview, theme: &Theme) {
    let muted = theme.style(Role::Muted);
    let name = overview.folder.file_name().unwrap_or(overview.folder.as_os_str()).to_string_lossy();
    let legend = [
        (Square::Done, "there"),
        (Square::Working(None), "being measured"),
        (Square::Waiting, "to do"),
        (Square::Failed(String::new()), "failed"),
    ];
    let legend = legend.iter().flat_map(|(square, words)| {
        let (sign, style) = sign(square, theme);
        [Span::styled(format!("{sign} "), style), Span::styled(format!("{words}   "), muted)]
    });
    let frame = widgets::Panel::new(format!("study {}", safe::line(&name)), true)
        .note(safe::line(&overview.common))
        .foot(Line::from_iter(legend), Line::default());
    let inside = frame.render(panel, buffer, theme);
    let layout = Layout::new(inside, state, overview);
    let room = usize::from(inside.width);
    let line = summary(state, overview, theme);
    let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
    put(buffer, inside, Line::styled(safe::cut(&text, room, theme.ascii), line.style));
    heads(inside, buffer, &layout, state, overview, theme);
    for (at, row) in overview.rows.iter().enumerate().skip(layout.row).take(layout.visible) {
        let line = line_at(inside, HEADS + (at - layout.row) as u16);
        let selected = at == state.study.row;
        let mark = if selected { theme.symbol("▸", ">") } else { " " };
        put(buffer, line, Line::styled(mark, theme.style(Role::Accent)));
        let label = overview.labels.get(at).map(|label| safe::line(label)).unwrap_or_default();
        let style = if row.worker.is_some() { theme.style(Role::Accent) } else { theme.style(Role::Text) };
        let label = safe::cut(&label, layout.label.saturating_sub(3), theme.ascii);
        put(buffer, skip(line, 2), Line::styled(label, style));
        for (column, start, width) in layout.columns() {
            let place = Rect { x: line.x + start, width: width as u16, ..line };
            if let Some(square) = overview.square(at, column) {
                let (sign, style) = sign(square, theme);
                put(buffer, place, Line::styled(sign, style));
            }
            if selected && column == state.study.column {
                widgets::select(buffer, Rect { width: place.width.min(2), ..place }, theme);
            }
        }
    }
    widgets::scrollbar(buffer, panel, overview.rows.len(), layout.visible, layout.row, theme);
}

/// Two lines: metrics, and what tells their columns apart.
fn heads(inside: Rect, buffer: &mut Buffer, layout: &Layout, state: &State, overview: &Overview, theme: &Theme) {
    let (metrics, rests) = (line_at(inside, 1), line_at(inside, 2));
    let mut last = None;
    for (at, start, width) in layout.columns() {
        let column = &overview.columns[at];
        if last != Some(&column.metric) {
            last = Some(&column.metric);
            put(buffer, skip(metrics, start), Line::styled(safe::line(&column.metric), theme.style(Role::Title)));
        }
        let role = if at == state.study.column { Role::Accent } else { Role::Muted };
        let rest = Rect { x: rests.x + start, width: width as u16, ..rests };
        put(buffer, rest, Line::styled(safe::line(&column.rest), theme.style(role)));
    }
    let (before, shown) = (layout.first, layout.widths.len());
    let after = overview.columns.len() - before - shown;
    if before + after > 0 {
        let text = match (before, after) {
            (0, n) => format!("{n} more {}", theme.symbol("→", ">")),
            (n, 0) => format!("{} {n} more", theme.symbol("←", "<")),
            (n, m) => format!("{} {n}, {m} {}", theme.symbol("←", "<"), theme.symbol("→", ">")),
        };
        let text = safe::cut(&text, layout.label.saturating_sub(1), theme.ascii);
        put(buffer, skip(rests, 2), Line::styled(text, theme.style(Role::Muted)));
    }
}
