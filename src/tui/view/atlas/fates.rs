//! How many latents have which fate at each ratio: a row a ratio, with a bar of all of them.

use prunelens_metrics::atlas::Fate;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{fate_style, letter};
use crate::tui::{
    state::atlas::ByRatio,
    theme::{Role, Theme},
    widgets::{line_at, put, skip},
};

/// Fates that mass alone tells.
const TOLD: [Fate; 7] =
    [Fate::Kept, Fate::Weakened, Fate::DeadWithModel, Fate::DeadWithSae, Fate::Revived, Fate::New, Fate::Silent];
/// Cells of a count.
const CELL: usize = 7;

pub fn render(inside: Rect, buffer: &mut Buffer, by_ratio: &ByRatio, theme: &Theme) {
    let inside = skip(inside, 1);
    let muted = theme.style(Role::Muted);
    let mut head = vec![Span::styled("ratio ", muted)];
    for fate in TOLD {
        head.push(Span::styled(format!("{:>CELL$}", letter(fate)), fate_style(fate, theme)));
    }
    put(buffer, inside, Line::from(head));
    let used = 6 + CELL * TOLD.len() + 2;
    let cells = usize::from(inside.width).saturating_sub(used + 1);
    for (at, (ratio, counts)) in by_ratio.iter().enumerate() {
        let mut spans = vec![Span::raw(format!("{ratio:<6}"))];
        spans.extend(TOLD.map(|fate| match counts[fate as usize] {
            0 => Span::styled(format!("{:>CELL$}", theme.symbol("·", ".")), muted),
            n => Span::raw(format!("{n:>CELL$}")),
        }));
        spans.push(Span::raw("  "));
        spans.extend(bar(counts, cells, theme));
        put(buffer, line_at(inside, at as u16 + 1), Line::from(spans));
    }
    let below = by_ratio.len() as u16 + 2;
    let words = TOLD.map(|fate| format!("{} {}", letter(fate), fate.name())).join("   ");
    put(buffer, line_at(inside, below), Line::styled(words, muted));
    let text = "by mass alone: rotated and absorbed latents are counted among the others here";
    put(buffer, line_at(inside, below + 1), Line::styled(text, muted));
}

/// Cells in the colours of the fates, as many of each as its share; the letters say which.
fn bar(counts: &[usize], cells: usize, theme: &Theme) -> Vec<Span<'static>> {
    let total: usize = counts.iter().sum();
    let (mut done, mut drawn, mut spans) = (0, 0, Vec::new());
    for fate in TOLD {
        done += counts[fate as usize];
        let end = (done * cells).checked_div(total).unwrap_or(0);
        spans.push(Span::styled(letter(fate).repeat(end - drawn), fate_style(fate, theme)));
        drawn = end;
    }
    spans
}
