//! A study: its cells as a grid that fills, and under it the selected cell beside its session's curves.

mod cell;
mod squares;

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    study::squares::Overview,
    tui::{
        keys::action::{Action, Context},
        state::State,
        theme::{Role, Theme},
        view::{frame, metrics::detail, middle},
        widgets::{self, format, line_at, put, skip, spinner, wrap},
    },
};

/// Lines of the grid's panel beside its rows: border, summary, heads.
const AROUND: u16 = 5;
/// Lines that the panels below get at least and, where the grid needs the room, at most.
const BELOW: (u16, u16) = (8, 24);
/// From so many lines on there is room for panels below.
const ROOM: u16 = 16;

/// The grid's panel, the cell's and the curves'.
struct Areas {
    grid: Rect,
    cell: Rect,
    curves: Rect,
}

impl Areas {
    fn new(middle: Rect, overview: &Overview) -> Self {
        let wanted = (overview.rows.len() as u16).saturating_add(AROUND).max(AROUND + 1);
        let below = if middle.height < ROOM { 0 } else { (middle.height * 2 / 5).clamp(BELOW.0, BELOW.1) };
        let height = wanted.min(middle.height - below);
        let height = if below == 0 { middle.height } else { height };
        let grid = Rect { height, ..middle };
        let rest = Rect { y: grid.bottom(), height: middle.height - height, ..middle };
        let cell = Rect { width: rest.width / 2, ..rest };
        Self { grid, cell, curves: Rect { x: cell.right(), width: rest.width - cell.width, ..rest } }
    }
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let Some(overview) = state.study.overview() else { return empty(middle, buffer, state, theme) };
    let areas = Areas::new(middle, overview);
    squares::render(areas.grid, buffer, state, overview, theme);
    if areas.cell.height > 0 {
        cell::render(areas.cell, buffer, state, overview, theme);
        curves(areas.curves, buffer, state, theme);
    }
}

/// The row and the column at a point.
pub fn hit(area: Rect, state: &State, at: Position) -> Option<(usize, usize)> {
    let overview = state.study.overview()?;
    squares::hit(Areas::new(middle(area), overview).grid, state, overview, at)
}

/// A figure of the selected session against the ratio.
fn curves(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let curves = state.study.current().map(|seen| &seen.curves[..]).unwrap_or_default();
    let Some(curve) = curves.get(state.study.figure % curves.len().max(1)) else {
        let inside = widgets::Panel::new("against the ratio", false).render(area, buffer, theme);
        let text = "curves come with the first cells of core or sweep at two ratios";
        words(inside, buffer, text, theme.style(Role::Muted));
        return;
    };
    let key = state.keymap.key_of(Action::NextCurve, &[Context::Study]);
    let note = if curves.len() > 1 { format!("{key}: {} more", curves.len() - 1) } else { String::new() };
    let inside = widgets::Panel::new(safe::line(&curve.title), false).note(note).render(area, buffer, theme);
    if detail::chart(curve, inside, buffer, theme) == 0 {
        let (heads, body) = detail::lines(curve, usize::from(inside.width), theme);
        for (at, line) in heads.into_iter().chain(body).enumerate().take(usize::from(inside.height)) {
            put(buffer, line_at(inside, at as u16), line);
        }
    }
}

/// Lines of text from the top of an area.
fn words(area: Rect, buffer: &mut Buffer, text: &str, style: ratatui::style::Style) -> u16 {
    let area = skip(area, 1);
    let lines = wrap(&safe::line(text), usize::from(area.width).saturating_sub(1));
    let used = (lines.len() as u16).min(area.height);
    for (at, line) in lines.into_iter().enumerate().take(usize::from(area.height)) {
        put(buffer, line_at(area, at as u16), Line::styled(line, style));
    }
    used
}

/// Nothing was read yet, or it could not be.
fn empty(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let folder = state.study.folder.as_ref().map(|folder| safe::line(&folder.display().to_string()));
    let title = format!("study {}", folder.unwrap_or_default());
    let inside = widgets::Panel::new(title, true).render(area, buffer, theme);
    let Some(wrong) = &state.study.wrong else {
        let text = format!("{} reading the folder", spinner(state.spin(), theme.ascii));
        let line = Line::styled(text, theme.style(Role::Muted)).centered();
        return put(buffer, line_at(inside, inside.height / 2), line);
    };
    let used = words(inside, buffer, wrong, theme.style(Role::Error));
    let key = state.keymap.key_of(Action::Study, &[Context::Global]);
    let rest = Rect { y: inside.y + used, height: inside.height - used, ..inside };
    let text = format!("it is looked for again every few seconds; {key} names another folder");
    words(rest, buffer, &text, theme.style(Role::Muted));
}

/// The study in a line: what is there, how fast it goes, how long it takes.
fn summary(state: &State, overview: &Overview, theme: &Theme) -> Line<'static> {
    if let Some(wrong) = &state.study.wrong {
        return Line::styled(format!(" {}; this is what was there", safe::line(wrong)), theme.style(Role::Error));
    }
    let counts = overview.counts();
    let mut parts = vec![format!("{} of {} cells", counts.done, counts.cells)];
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    parts.extend(overview.left().map(|left| format!("about {} left", format::time(left))));
    parts.extend(overview.pace.map(|pace| format!("{} cells/h", pace_in_words(pace.an_hour))));
    if counts.worked_on > 0 {
        parts.push(format!("{} of {} sessions worked on", counts.worked_on, counts.groups));
    }
    Line::from(Span::raw(format!(" {}", parts.join(theme.symbol(" · ", ", ")))))
}

/// Whole cells, or one decimal where there are few.
fn pace_in_words(an_hour: f64) -> String {
    if an_hour < 10.0 { format!("{an_hour:.1}") } else { format::count(an_hour.round() as u64) }
}
