//! A family's own tables and charts.

use std::borrow::Cow;

use prunelens_metrics::{
    Detail,
    details::{Cell, DetailKind, Series},
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Modifier,
    text::{Line, Span},
};

use crate::{
    export::details::{cell, grid, marks},
    safe,
    tui::{
        state::Chosen,
        theme::{Role, Theme},
        widgets::{chart::Chart, format, line_at, put, skip, wrap},
    },
};

/// Cells left of a chart, for its scale.
const GUTTER: u16 = 9;
/// Below this a chart says nothing; above, numbers under it say more.
const LOWEST: u16 = 6;
const HIGHEST: u16 = 16;

/// A chart with the same chart of the run that is marked for comparing laid over it, if that has one.
pub fn laid_over<'a>(detail: &'a Detail, beside: Option<Chosen<'a>>) -> Cow<'a, Detail> {
    let other = beside.and_then(|run| run.details().iter().find(|other| other.title == detail.title));
    let (DetailKind::Lines { x_label, y_label, series }, Some(DetailKind::Lines { series: others, .. })) =
        (&detail.kind, other.map(|other| &other.kind))
    else {
        return Cow::Borrowed(detail);
    };
    let marked =
        others.iter().map(|line| Series { name: format!("marked: {}", line.name), variant: None, ..line.clone() });
    let series = series.iter().cloned().chain(marked).collect();
    Cow::Owned(Detail::lines(&detail.title, x_label, y_label, series))
}

/// Draw the chart of a detail that is one at the top of an area; gives the lines it took.
pub fn chart(detail: &Detail, area: Rect, buffer: &mut Buffer, theme: &Theme) -> u16 {
    let DetailKind::Lines { x_label, y_label, series } = &detail.kind else { return 0 };
    let finite = || series.iter().flat_map(|s| &s.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let (Some(xs), Some(ys)) = (bounds(finite().map(|p| p.0)), bounds(finite().map(|p| p.1))) else { return 0 };
    let legend = legend(series, usize::from(area.width), theme);
    let height = (area.height * 3 / 5).clamp(LOWEST, HIGHEST);
    let used = height + 1 + legend.len() as u16;
    if used > area.height || area.width < GUTTER + 16 {
        return 0;
    }
    let plot = Rect { height, ..skip(area, GUTTER) };
    let plot = Rect { width: plot.width.saturating_sub(1), ..plot };
    let muted = theme.style(Role::Muted);
    let label = |value: f64| Line::styled(format!("{:>w$}", format::figure(value), w = usize::from(GUTTER) - 1), muted);
    put(buffer, line_at(area, 0), label(ys.1));
    put(buffer, line_at(area, height - 1), label(ys.0));
    // A longer name is in the title.
    let name = safe::line(y_label);
    if safe::width(&name) < usize::from(GUTTER) {
        put(buffer, line_at(area, height / 2), Line::styled(format!("{name:>w$}", w = usize::from(GUTTER) - 1), muted));
    }
    let mut chart = Chart::over(plot, xs, ys);
    for line in series {
        let style = line.variant.map_or(theme.style(Role::Text), |v| theme.style(v));
        let points: Vec<(f64, f32)> =
            line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|&(x, y)| (x, y as f32)).collect();
        chart.curve(&points, style);
        if let [(x, y)] = points[..] {
            chart.point(x, y, style);
        }
    }
    let places: Vec<_> = series
        .iter()
        .filter_map(|line| {
            let mark = line.mark.as_ref().filter(|m| m.at.0.is_finite() && m.at.1.is_finite())?;
            let style = line.variant.map_or(theme.style(Role::Text), |v| theme.style(v));
            Some((chart.cell_of(mark.at.0, mark.at.1 as f32), style.add_modifier(Modifier::BOLD)))
        })
        .collect();
    chart.render(buffer, theme.ascii);
    for ((column, row), style) in places {
        let place = skip(line_at(plot, row), column);
        put(buffer, place, Line::styled(theme.symbol("◆", "@"), style));
    }
    let foot = skip(line_at(area, height), GUTTER);
    put(buffer, foot, Line::styled(format::figure(xs.0), muted));
    put(buffer, foot, Line::styled(safe::line(x_label), muted).centered());
    let right = Rect { width: foot.width.saturating_sub(1), ..foot };
    put(buffer, right, Line::styled(format::figure(xs.1), muted).right_aligned());
    for (at, line) in legend.into_iter().enumerate() {
        put(buffer, line_at(area, height + 1 + at as u16), line);
    }
    used
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match high - low {
        _ if low > high => None,
        // A level line in the middle.
        0.0 => Some((low - 0.5, high + 0.5)),
        _ => Some((low, high)),
    }
}

/// Names of the lines in their colours, each with its mark.
fn legend(series: &[Series], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Vec::new()];
    let mut used = 1;
    for line in series {
        let mark = line.mark.as_ref().filter(|m| m.at.0.is_finite());
        let mark = mark.map_or(String::new(), |m| {
            format!(" {} {} {}", theme.symbol("◆", "@"), safe::line(&m.name), format::figure(m.at.0))
        });
        let name = safe::cut(&safe::line(&line.name), 30, theme.ascii);
        let cells = safe::width(&name) + safe::width(&mark) + 5;
        if used + cells > width && used > 1 {
            lines.push(Vec::new());
            used = 1;
        }
        used += cells;
        let style = line.variant.map_or(theme.style(Role::Text), |v| theme.style(v));
        if let Some(spans) = lines.last_mut() {
            spans.push(Span::styled(format!(" {} {name}", theme.symbol("━", "-")), style));
            spans.push(Span::styled(format!("{mark}  "), theme.style(Role::Muted)));
        }
    }
    lines.truncate(3);
    lines.into_iter().map(Line::from).collect()
}

/// Cells between columns, and of a column at least and at most; the last column of words takes what is left.
const GAP: usize = 2;
const NARROWEST: usize = 4;
const WIDEST: usize = 28;

/// The rows as a table: heads, and lines that may be more than there are rows where words are long.
pub fn lines(detail: &Detail, width: usize, theme: &Theme) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let (columns, rows) = grid(detail);
    let n = columns.len();
    let texts: Vec<Vec<String>> =
        rows.iter().map(|row| (0..n).map(|at| row.get(at).map(cell).unwrap_or_default()).collect()).collect();
    let is_words = |at: usize| rows.iter().any(|row| matches!(row.get(at), Some(Cell::Text(_))));
    let widest = |at: usize| texts.iter().map(|row| safe::width(&row[at])).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..n)
        .map(|at| widest(at).max(safe::width(&safe::line(&columns[at])).min(14)).clamp(NARROWEST, WIDEST))
        .collect();
    // Columns that do not fit are left out, from the right; exports have them all.
    let total = |widths: &[usize]| widths.iter().map(|w| w + GAP).sum::<usize>() + 1;
    while widths.len() > 1 && total(&widths) > width {
        widths.pop();
    }
    let shown = widths.len();
    // Words get the room that is left over.
    if let Some(at) = (0..shown).rev().find(|at| is_words(*at)) {
        let room = width.saturating_sub(total(&widths)) + widths[at];
        widths[at] = widest(at).clamp(widths[at], room.max(widths[at]));
    }
    let pad = |text: &str, at: usize, left: bool| {
        let text = safe::cut(text, widths[at], theme.ascii);
        let blank = " ".repeat(widths[at].saturating_sub(safe::width(&text)));
        if left { format!("{text}{blank}") } else { format!("{blank}{text}") }
    };
    let join = |cells: Vec<String>| format!(" {}", cells.join(&" ".repeat(GAP)));
    let words: Vec<bool> = (0..shown).map(is_words).collect();
    let head = (0..shown).map(|at| pad(&safe::line(&columns[at]), at, words[at])).collect();
    let mut body = Vec::new();
    for row in &texts {
        let cells: Vec<Vec<String>> =
            (0..shown).map(|at| if words[at] { wrap(&row[at], widths[at]) } else { vec![row[at].clone()] }).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1).max(1);
        for line in 0..height {
            let part = |at: usize| pad(cells[at].get(line).map_or("", String::as_str), at, words[at]);
            body.push(Line::raw(join((0..shown).map(part).collect())));
        }
    }
    if shown < n {
        let text = format!("{} more columns: the exported files have them", n - shown);
        body.push(Line::styled(format!(" {text}"), theme.style(Role::Muted)));
    }
    for mark in marks(detail) {
        body.push(Line::styled(format!(" {mark}"), theme.style(Role::Muted)));
    }
    (vec![Line::styled(join(head), theme.style(Role::Muted))], body)
}
