//! Two runs of one metric: every figure of both under each other, with the differences.

use prunelens_core::compare::Variant;
use prunelens_metrics::{MetricRow, MetricTable};
use ratatui::text::{Line, Span};

use crate::{
    safe,
    tui::{
        state::{Chosen, State},
        theme::{Role, Theme},
        view::{
            figures::change,
            metrics::figures::{Columns, heads},
        },
        widgets::{format, wrap},
    },
};

pub fn lines(
    state: &State,
    chosen: Chosen,
    beside: Chosen,
    width: usize,
    theme: &Theme,
) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let (Some(table), Some(other)) = (chosen.table(), beside.table()) else { return Default::default() };
    let columns = Columns::new(table, width);
    let mut body = Vec::new();
    for text in settings(state, chosen, beside, table, other) {
        for row in wrap(&safe::line(&text), width.saturating_sub(2)) {
            body.push(Line::styled(format!(" {row}"), theme.style(Role::Muted)));
        }
    }
    body.push(Line::default());
    for row in &table.rows {
        let theirs = other.rows.iter().find(|r| r.name == row.name && r.category == row.category);
        body.extend(pair(row, theirs, table, other, &columns, theme));
    }
    (vec![heads(table, &columns, theme)], body)
}

/// What the two were measured on, and which settings differ.
fn settings(state: &State, chosen: Chosen, beside: Chosen, table: &MetricTable, other: &MetricTable) -> Vec<String> {
    let here = |c: Chosen| c.session().map_or_else(|| "this session".to_owned(), str::to_owned);
    let age = |c: Chosen| match c {
        Chosen::Run(run) => format!(", {}", format::age(state.past.clock(state.now), run.when)),
        Chosen::Job(_) => String::new(),
    };
    let mut lines = vec![
        format!("above: {}{}", here(chosen), age(chosen)),
        format!("below: {}{}, marked", here(beside), age(beside)),
    ];
    let value = |t: &MetricTable, name: &str| t.settings.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let names = table.settings.iter().chain(&other.settings).map(|(name, _)| name);
    let mut seen: Vec<&String> = Vec::new();
    for name in names {
        let (ours, theirs) = (value(table, name), value(other, name));
        if ours != theirs && !seen.contains(&name) {
            seen.push(name);
            let word = |v: Option<String>| v.unwrap_or_else(|| "none".into());
            lines.push(format!("{name}: {} above, {} below", word(ours), word(theirs)));
        }
    }
    if seen.is_empty() {
        lines.push("all settings are the same".into());
    }
    lines
}

fn pair(
    row: &MetricRow,
    theirs: Option<&MetricRow>,
    table: &MetricTable,
    other: &MetricTable,
    columns: &Columns,
    theme: &Theme,
) -> [Line<'static>; 2] {
    let name = safe::cut(&safe::line(&row.name), columns.name - 2, theme.ascii);
    let mut above = vec![Span::raw(format!(" {name:<w$}", w = columns.name - 1))];
    let mut below = vec![Span::raw(" ".repeat(columns.name))];
    let muted = theme.style(Role::Muted);
    let known = |v: Option<f64>| v.filter(|v| v.is_finite());
    let text = |v: Option<f64>| format!("{:>w$}", v.map_or("-".to_owned(), format::figure), w = super::figures::VALUE);
    for (&variant, value) in table.variants.iter().zip(&row.values) {
        let rest = columns.cells(Variant::Transfer) - super::figures::VALUE;
        let value = known(*value);
        let column = other.variants.iter().position(|v| *v == variant);
        let old = known(theirs.zip(column).and_then(|(row, at)| row.values.get(at).copied().flatten()));
        let difference = value.zip(old).map(|(value, old)| value - old);
        let shown: Option<fn(f64) -> String> = if columns.full { Some(format::figure) } else { None };
        let (sign, role) = difference.map_or((String::new(), Role::Muted), |d| change(d, row.better, shown, theme));
        above.push(Span::raw(text(value)));
        above.push(Span::styled(format!("{sign:<rest$}"), theme.style(role)));
        below.push(Span::styled(format!("{}{:rest$}", text(old), ""), muted));
    }
    [Line::from(above), Line::from(below)]
}
