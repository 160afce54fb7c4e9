//! The Metrics screen: jobs, and what the selected one measured.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    figures::change,
    frame, jobs,
    theme::{Role, Theme},
    widgets::{self, format, line_at, put, skip, wrap},
};
use crate::{
    app::{
        action::{Action, Context},
        state::{JobState, State},
    },
    compare::Variant,
    metrics::{MetricRow, MetricTable},
    safe,
};

/// Jobs seen at once.
const JOBS: usize = 6;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let height = (state.jobs.len().clamp(1, JOBS) as u16 + 2).min(middle.height);
    let top = Rect { height, ..middle };
    job_list(top, buffer, state, theme);
    let rest = Rect { y: middle.y + height, height: middle.height - height, ..middle };
    table(rest, buffer, state, theme);
}

fn job_list(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let inside = widgets::Panel::new("jobs", true).render(area, buffer, theme);
    if state.jobs.is_empty() {
        let key = state.keymap.key_of(Action::Core, &[Context::Global]);
        let line = Line::from(vec![
            Span::styled(format!(" {key}"), theme.style(Role::Key)),
            Span::styled(
                " runs the core metric: L0, variance, CE and KL of every variant on held-out text",
                theme.style(Role::Muted),
            ),
        ]);
        return put(buffer, inside, line);
    }
    let visible = usize::from(inside.height);
    let first = widgets::offset(state.job, state.jobs.len(), visible);
    for (at, job) in state.jobs.iter().enumerate().skip(first).take(visible) {
        let line = line_at(inside, (at - first) as u16);
        let selected = at == state.job;
        let mark = if selected { theme.symbol("▸", ">") } else { " " };
        put(buffer, line, Line::styled(mark, theme.style(Role::Accent)));
        put(buffer, skip(line, 2), jobs::row(job, usize::from(line.width).saturating_sub(2), state.spin(), theme));
        if selected {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, area, state.jobs.len(), visible, first, theme);
}

fn table(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if area.height < 3 {
        return;
    }
    let job = state.jobs.get(state.job);
    let Some(table) = job.and_then(|j| j.table.clone()) else {
        let inside = widgets::Panel::new("figures", false).render(area, buffer, theme);
        if let Some(JobState::Failed(message)) = job.map(|j| &j.state) {
            let rows = wrap(&safe::line(message), usize::from(inside.width).saturating_sub(2));
            for (at, row) in rows.into_iter().enumerate() {
                put(buffer, skip(line_at(inside, at as u16), 1), Line::styled(row, theme.style(Role::Error)));
            }
            return;
        }
        let text = match job {
            Some(_) => "figures appear here as soon as the first texts are measured",
            None => "variants side by side, with their differences from original",
        };
        let line = Line::styled(text, theme.style(Role::Muted)).centered();
        return put(buffer, line_at(inside, inside.height / 2), line);
    };
    let share = if table.progress < 1.0 {
        format!("on {} of the text so far", format::percent(table.progress))
    } else {
        String::new()
    };
    let title = job.map_or_else(|| safe::line(&table.metric), |j| jobs::subject(&j.spec));
    let panel = widgets::Panel::new(title, false).note(share);
    let inside = panel.render(area, buffer, theme);
    let columns = Columns::new(&table, usize::from(inside.width));
    let mut lines = vec![heads(&table, &columns, theme)];
    lines.extend(rows(&table, &columns, theme));
    lines.extend(remarks(&table, usize::from(inside.width), theme));
    let visible = usize::from(inside.height).saturating_sub(1);
    let first = state.metrics_scroll.min(lines.len().saturating_sub(1 + visible));
    let rows = lines.len() - 1;
    // The heads stay where they are.
    let body = lines.split_off(1);
    for (at, line) in lines.into_iter().chain(body.into_iter().skip(first)).take(visible + 1).enumerate() {
        put(buffer, line_at(inside, at as u16), line);
    }
    widgets::scrollbar(buffer, area, rows, visible, first, theme);
}

/// Cells of a value, of one with an arrow, and of one with its difference too.
const VALUE: usize = 9;
const PLAIN: usize = 12;
const FULL: usize = 18;
/// Cells of a figure's name, at least and at most.
const NAME: (usize, usize) = (26, 44);

/// Where columns stand.
struct Columns {
    name: usize,
    full: bool,
}

impl Columns {
    fn new(table: &MetricTable, width: usize) -> Self {
        let longest = table.rows.iter().map(|r| r.name.len() + 4).max().unwrap_or(0).clamp(NAME.0, NAME.1);
        let n = table.variants.len();
        let values = |full: bool| PLAIN + n.saturating_sub(1) * if full { FULL } else { PLAIN };
        let full = NAME.0 + values(true) <= width;
        Self { name: longest.min(width.saturating_sub(values(full))).max(NAME.0), full }
    }

    fn cells(&self, variant: Variant) -> usize {
        if self.full && variant != Variant::Original { FULL } else { PLAIN }
    }
}

fn heads(table: &MetricTable, columns: &Columns, theme: &Theme) -> Line<'static> {
    let heads = table
        .variants
        .iter()
        .map(|&v| Span::styled(format!("{:>VALUE$}{:w$}", v.name(), "", w = columns.cells(v) - VALUE), theme.style(v)));
    Line::from_iter([Span::raw(" ".repeat(columns.name))].into_iter().chain(heads))
}

fn rows(table: &MetricTable, columns: &Columns, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut category = "";
    for row in &table.rows {
        if row.category != category {
            category = &row.category;
            let name = safe::line(category).replace('_', " ");
            lines.push(Line::styled(format!(" {name}"), theme.style(Role::Muted)));
        }
        lines.push(line(row, table, columns, theme));
    }
    lines
}

fn line(row: &MetricRow, table: &MetricTable, columns: &Columns, theme: &Theme) -> Line<'static> {
    let original = table.variants.iter().position(|&v| v == Variant::Original).and_then(|at| *row.values.get(at)?);
    let name = safe::cut(&safe::line(&row.name), columns.name - 4, theme.ascii);
    let mut spans = vec![Span::raw(format!("   {name:<w$}", w = columns.name - 3))];
    for (&variant, value) in table.variants.iter().zip(&row.values) {
        let rest = columns.cells(variant) - VALUE;
        let Some(value) = value.filter(|v| v.is_finite()) else {
            spans.push(Span::styled(format!("{:>VALUE$}{:rest$}", "-", ""), theme.style(Role::Muted)));
            continue;
        };
        spans.push(Span::raw(format!("{:>VALUE$}", format::figure(value))));
        let difference = original.filter(|_| variant != Variant::Original).map(|o| value - o).filter(|d| d.is_finite());
        let shown: Option<fn(f64) -> String> = if columns.full { Some(format::figure) } else { None };
        let (text, role) = difference.map_or((String::new(), Role::Muted), |d| change(d, row.better, shown, theme));
        spans.push(Span::styled(format!("{text:<rest$}"), theme.style(role)));
    }
    Line::from(spans)
}

/// Warnings, and what the figures were measured on.
fn remarks(table: &MetricTable, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let room = width.saturating_sub(4);
    if !table.warnings.is_empty() {
        lines.push(Line::default());
    }
    for warning in &table.warnings {
        for (at, row) in wrap(&safe::line(warning), room).into_iter().enumerate() {
            let mark = if at == 0 { "!" } else { " " };
            lines.push(Line::styled(format!(" {mark} {row}"), theme.style(Role::Warning)));
        }
    }
    if !table.settings.is_empty() {
        lines.push(Line::default());
        let settings: Vec<_> = table.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let text = safe::line(&settings.join(theme.symbol(" · ", ", ")));
        lines.extend(wrap(&text, room).into_iter().map(|r| Line::styled(format!(" {r}"), theme.style(Role::Muted))));
    }
    lines
}
