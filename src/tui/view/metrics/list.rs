//! Jobs of this session, and earlier runs under them.

use prunelens_metrics::Run;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Chosen, State},
        theme::{Role, Theme},
        view::jobs,
        widgets::{self, format, line_at, put, skip},
    },
};

fn first(area: Rect, state: &State) -> usize {
    let visible = usize::from(area.height.saturating_sub(2));
    widgets::offset(state.metrics.row, state.rows_of_metrics(), visible)
}

/// The row of the list at a line of the screen.
pub fn row_at(area: Rect, state: &State, y: u16) -> Option<usize> {
    let line = y.checked_sub(area.y + 1).filter(|_| y + 1 < area.bottom())?;
    Some(first(area, state) + usize::from(line)).filter(|row| *row < state.rows_of_metrics())
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let rows = state.rows_of_metrics();
    let title = if state.past.is_empty() { "jobs" } else { "jobs and earlier runs" };
    let inside = widgets::Panel::new(title, true).render(area, buffer, theme);
    if rows == 0 {
        let key = state.keymap.key_of(Action::Measure, &[Context::Global]);
        let line = Line::from(vec![
            Span::styled(format!(" {key}"), theme.style(Role::Key)),
            Span::styled(
                " starts a job: L0, variance, CE and KL of every variant on held-out text, and more",
                theme.style(Role::Muted),
            ),
        ]);
        return put(buffer, inside, line);
    }
    let here = state.info.as_ref().map(|info| info.label());
    let visible = usize::from(inside.height);
    let first = first(area, state);
    for row in (first..rows).take(visible) {
        let Some(chosen) = state.row_of_metrics(row) else { continue };
        let line = line_at(inside, (row - first) as u16);
        let selected = row == state.metrics.row;
        let mark = if selected { theme.symbol("▸", ">") } else { " " };
        put(buffer, line, Line::styled(mark, theme.style(Role::Accent)));
        if state.metrics.beside == Some(row) {
            put(buffer, skip(line, 1), Line::styled(theme.symbol("◆", "="), theme.style(Role::Accent)));
        }
        let room = usize::from(line.width).saturating_sub(2);
        let text = match chosen {
            Chosen::Job(job) => jobs::row(job, here.as_deref(), room, state.spin(), theme),
            Chosen::Run(run) => past(run, state.past.clock(state.now), room, theme),
        };
        put(buffer, skip(line, 2), text);
        if selected {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, area, rows, visible, first, theme);
}

/// Cells of what a run was of.
const SUBJECT: usize = 29;

/// A run of earlier: when, on what, how long.
fn past(run: &Run, now: u64, width: usize, theme: &Theme) -> Line<'static> {
    let muted = theme.style(Role::Muted);
    let age = format::age(now, run.when);
    let subject = safe::cut(&safe::line(&jobs::subject(&run.spec, Some(&run.table))), SUBJECT - 1, theme.ascii);
    let subject = format!("{subject}{}", " ".repeat(SUBJECT.saturating_sub(safe::width(&subject))));
    let start = format!("{age:<12} in {}   ", format::time(run.seconds));
    let room = width.saturating_sub(SUBJECT + 4 + safe::width(&start));
    Line::from(vec![
        Span::styled(theme.symbol("· ", ". "), muted),
        Span::styled(subject, muted),
        Span::styled(start, muted),
        Span::styled(safe::cut(&safe::line(&run.session), room, theme.ascii), muted),
    ])
}
