//! Figures x variants, with differences, warnings and settings.

use prunelens_core::compare::Variant;
use prunelens_metrics::{MetricRow, MetricTable};
use ratatui::text::{Line, Span};

use crate::{
    safe,
    tui::{
        state::Chosen,
        theme::{Role, Theme},
        view::figures::change,
        widgets::{format, wrap},
    },
};

/// Heads, and everything under them.
pub fn lines(
    table: &MetricTable,
    chosen: Chosen,
    width: usize,
    theme: &Theme,
) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let columns = Columns::new(table, width);
    let mut body = rows(table, &columns, theme);
    body.extend(remarks(table, chosen, width, theme));
    (vec![heads(table, &columns, theme)], body)
}

/// Cells of a value, of one with an arrow, and of one with its difference too.
pub const VALUE: usize = 9;
const PLAIN: usize = 12;
const FULL: usize = 18;
/// Cells of a figure's name, at least and at most.
const NAME: (usize, usize) = (26, 44);

/// Where columns stand.
pub struct Columns {
    pub name: usize,
    /// Differences have room.
    pub full: bool,
}

impl Columns {
    pub fn new(table: &MetricTable, width: usize) -> Self {
        let longest = table.rows.iter().map(|r| r.name.len() + 4).max().unwrap_or(0).clamp(NAME.0, NAME.1);
        let n = table.variants.len();
        let values = |full: bool| PLAIN + n.saturating_sub(1) * if full { FULL } else { PLAIN };
        let full = NAME.0 + values(true) <= width;
        Self { name: longest.min(width.saturating_sub(values(full))).max(NAME.0), full }
    }

    pub fn cells(&self, variant: Variant) -> usize {
        if self.full && variant != Variant::Original { FULL } else { PLAIN }
    }
}

pub fn heads(table: &MetricTable, columns: &Columns, theme: &Theme) -> Line<'static> {
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

/// Warnings, what became of the job, and what the figures were measured on.
fn remarks(table: &MetricTable, chosen: Chosen, width: usize, theme: &Theme) -> Vec<Line<'static>> {
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
    let jobs = match chosen {
        Chosen::Job(job) => &job.remarks[..],
        Chosen::Run(_) => &[],
    };
    let on = chosen.session().map(|session| format!("on {session}"));
    for text in jobs.iter().cloned().chain(on) {
        lines.push(Line::default());
        let rows = wrap(&safe::line(&text), room);
        lines.extend(rows.into_iter().map(|r| Line::styled(format!(" {r}"), theme.style(Role::Muted))));
    }
    if !table.settings.is_empty() {
        lines.push(Line::default());
        let settings: Vec<_> = table.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let text = safe::line(&settings.join(theme.symbol(" · ", ", ")));
        lines.extend(wrap(&text, room).into_iter().map(|r| Line::styled(format!(" {r}"), theme.style(Role::Muted))));
    }
    lines
}
