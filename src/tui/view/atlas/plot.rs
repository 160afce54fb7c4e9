//! The plot: latents as braille dots in the colour of the fate that most of a cell share, with sums at both sides.

use prunelens_metrics::atlas::Fate;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{fate_style, letter};
use crate::tui::{
    state::{
        AtlasView, State,
        atlas::{BINS, Drawn, FATES, Region},
    },
    theme::{Role, Theme},
    widgets::{bars, chart::Chart, format, line_at, put, put_right, skip},
};

/// Cells of the labels at the left, of the sums at the right, and lines of the sums above.
const LABELS: u16 = 8;
const RIGHT: u16 = 6;
const ABOVE: u16 = 2;

/// Where the dots are, within the panel.
pub fn dots(inside: Rect) -> Rect {
    let below = 2;
    Rect {
        x: inside.x + LABELS.min(inside.width),
        y: inside.y + ABOVE.min(inside.height),
        width: inside.width.saturating_sub(LABELS + RIGHT),
        height: inside.height.saturating_sub(ABOVE + below),
    }
}

/// The place of a point, 0 to 1 from the left and from below.
pub fn place(dots: Rect, at: Position) -> Option<(f64, f64)> {
    let share = |at: u16, from: u16, n: u16| (f64::from(at - from) + 0.5) / f64::from(n);
    dots.contains(at).then(|| (share(at.x, dots.x, dots.width), 1.0 - share(at.y, dots.y, dots.height)))
}

pub fn render(inside: Rect, buffer: &mut Buffer, state: &State, drawn: &Drawn, theme: &Theme) {
    let (view, area) = (&state.atlas, dots(inside));
    if area.is_empty() {
        return;
    }
    points(area, buffer, drawn, theme);
    if let Some(region) = view.region.or(view.anchor.map(|anchor| Region::between(anchor, view.cursor))) {
        frame(area, buffer, region, theme);
    }
    if !view.in_list {
        mark(area, buffer, view.cursor, theme.symbol("┼", "+"), theme);
    }
    if let Some(place) = state.latent.and_then(|latent| view.place(latent)) {
        mark(area, buffer, place, theme.symbol("◉", "@"), theme);
    }
    sums(inside, area, buffer, drawn, theme);
    labels(inside, area, buffer, drawn, theme);
    legend(Rect { y: inside.bottom() - 1, height: 1, ..inside }, buffer, view, drawn, theme);
}

/// The middle of a bin, 0 to 1.
fn middle((x, y): (u16, u16)) -> (f64, f64) {
    ((f64::from(x) + 0.5) / f64::from(BINS.0), (f64::from(y) + 0.5) / f64::from(BINS.1))
}

fn points(area: Rect, buffer: &mut Buffer, drawn: &Drawn, theme: &Theme) {
    let mut chart = Chart::over(area, (0.0, 1.0), (0.0, 1.0));
    let cell = |chart: &Chart, x: u16, y: u16| {
        let (x, y) = middle((x, y));
        let (column, row) = chart.cell_of(x, y as f32);
        usize::from(row) * usize::from(area.width) + usize::from(column)
    };
    let mut cells = vec![[0_u32; FATES]; usize::from(area.width) * usize::from(area.height)];
    for bin in &drawn.bins {
        let at = cell(&chart, bin.x, bin.y);
        if let Some(cell) = cells.get_mut(at) {
            cell.iter_mut().zip(bin.counts).for_each(|(sum, n)| *sum += n);
        }
    }
    let most = cells.iter().map(|counts| counts.iter().sum::<u32>()).max().unwrap_or(1).max(2);
    let styles: Vec<Style> = cells
        .iter()
        .map(|counts| {
            let fate = (0..FATES).rev().max_by_key(|fate| counts[*fate]).unwrap_or(0);
            // By the logarithm of how many there are: faint, plain, bold.
            let share = f64::from(counts.iter().sum::<u32>().max(1)).ln() / f64::from(most).ln();
            let weight = match share {
                s if s < 0.34 && most > 8 => Modifier::DIM,
                s if s > 0.67 => Modifier::BOLD,
                _ => Modifier::empty(),
            };
            fate_style(Fate::ALL[fate], theme).add_modifier(weight)
        })
        .collect();
    for bin in &drawn.bins {
        let at = cell(&chart, bin.x, bin.y);
        let (x, y) = middle((bin.x, bin.y));
        chart.point(x, y as f32, styles.get(at).copied().unwrap_or_default());
    }
    chart.render(buffer, theme.ascii);
}

fn cell_at(area: Rect, bin: (u16, u16)) -> Position {
    let (x, y) = middle(bin);
    let at = |share: f64, n: u16| ((share * f64::from(n)) as u16).min(n - 1);
    Position::new(area.x + at(x, area.width), area.y + at(1.0 - y, area.height))
}

fn mark(area: Rect, buffer: &mut Buffer, bin: (u16, u16), symbol: &str, theme: &Theme) {
    let at = cell_at(area, bin);
    if let Some(cell) = buffer.cell_mut(at) {
        cell.set_symbol(symbol).set_style(theme.style(Role::Accent).add_modifier(Modifier::BOLD));
    }
}

/// The border of a region, where no dots are in its way.
fn frame(area: Rect, buffer: &mut Buffer, region: Region, theme: &Theme) {
    let (low, high) = (cell_at(area, region.from), cell_at(area, region.to));
    let (left, right, top, bottom) = (low.x, high.x, high.y, low.y);
    for y in top..=bottom {
        for x in left..=right {
            let (side, end) = (x == left || x == right, y == top || y == bottom);
            let symbol = match (side, end) {
                (true, true) => theme.symbol("·", "+"),
                (true, false) => theme.symbol("│", "|"),
                (false, true) => theme.symbol("─", "-"),
                (false, false) => continue,
            };
            if let Some(cell) = buffer.cell_mut((x, y)).filter(|cell| cell.symbol() == " ") {
                cell.set_symbol(symbol).set_style(theme.style(Role::Accent));
            }
        }
    }
}

/// Bins summed to as many cells as there are.
fn merged(bins: &[u32], cells: u16) -> Vec<f32> {
    let mut out = vec![0.0; usize::from(cells)];
    let n = out.len();
    for (at, count) in bins.iter().enumerate() {
        out[at * n / bins.len()] += *count as f32;
    }
    out
}

/// How many latents there are in each column and row, by the square root: what is rare is seen beside what is frequent.
fn sums(inside: Rect, area: Rect, buffer: &mut Buffer, drawn: &Drawn, theme: &Theme) {
    let style = theme.style(Role::Muted);
    let columns = merged(&drawn.over_x, area.width);
    let most = columns.iter().copied().fold(1.0, f32::max);
    for (at, n) in columns.iter().enumerate() {
        for row in 0..ABOVE {
            let symbol = bars::tall_column((n / most).sqrt(), row, ABOVE, theme.ascii);
            if let Some(cell) = buffer.cell_mut((area.x + at as u16, inside.y + row)) {
                cell.set_symbol(symbol).set_style(style);
            }
        }
    }
    let rows = merged(&drawn.over_y, area.height);
    let most = rows.iter().copied().fold(1.0, f32::max);
    for (at, n) in rows.iter().rev().enumerate().filter(|(_, n)| **n > 0.0) {
        let share = f64::from((n / most).sqrt()).max(0.125 / f64::from(RIGHT - 1));
        let bar = bars::meter(share, usize::from(RIGHT - 1), theme.ascii).trim_end_matches('.').to_owned();
        let place = Rect { x: area.right() + 1, y: area.y + at as u16, width: RIGHT - 1, height: 1 };
        put(buffer, place, Line::styled(bar, style));
    }
}

fn labels(inside: Rect, area: Rect, buffer: &mut Buffer, drawn: &Drawn, theme: &Theme) {
    let muted = theme.style(Role::Muted);
    for share in [1.0, 0.5, 0.0] {
        let row = ((1.0 - share) * f64::from(area.height - 1)).round() as u16;
        let place = Rect { x: inside.x, y: area.y + row, width: LABELS - 1, height: 1 };
        put_right(buffer, place, Line::styled(format::figure(drawn.y.value(share)), muted));
    }
    let below = Rect { y: area.bottom(), height: 1, ..area };
    let value = |share: f64| Line::styled(format::figure(drawn.x.value(share)), muted);
    put(buffer, below, value(0.0));
    put(buffer, below, value(0.5).centered());
    put_right(buffer, below, value(1.0));
}

/// Fates that are there, with how many latents have them.
fn legend(area: Rect, buffer: &mut Buffer, view: &AtlasView, drawn: &Drawn, theme: &Theme) {
    let there = |fate: &Fate| drawn.counts[*fate as usize] > 0 || view.fate == Some(*fate);
    let line = |named: bool| -> Line {
        let of = |fate: Fate| {
            let name = if named { format!("{} ", fate.name()) } else { String::new() };
            let text = format!(" {name}{}  ", format::count(drawn.counts[fate as usize].into()));
            let style = fate_style(fate, theme).add_modifier(Modifier::BOLD);
            [Span::styled(letter(fate), style), Span::styled(text, theme.style(Role::Muted))]
        };
        Fate::ALL.into_iter().filter(there).flat_map(of).collect()
    };
    let area = skip(line_at(area, 0), 1);
    // The list has the names beside the letters.
    let whole = Some(line(true)).filter(|line| line.width() <= usize::from(area.width) + 2);
    put(buffer, area, whole.unwrap_or_else(|| line(false)));
}
