//! The prompt as both models read it, shaded by the selected latent.

use prunelens_core::compare::Variant;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Panel, Pointed, Shade, Shown, State},
        theme::{Role, Theme},
        widgets::{bars, format, line_at, put, put_right, skip},
    },
};

/// Cells of the name before each strip.
const NAME: u16 = 11;

/// A stretch of tokens that fits, and their pieces.
struct Page {
    first: usize,
    pieces: Vec<String>,
    more: bool,
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let [original, pruned] = [0, 1].map(|at| line_at(area, at));
    for (area, variant) in [(original, Variant::Original), (pruned, Variant::Pruned)] {
        let name = Line::styled(format!(" {}", variant.name()), theme.style(variant));
        put(buffer, area, name);
    }
    let Some(shown) = &state.shown else { return };
    let page = page(shown, state.token, original.width.saturating_sub(NAME + 2), theme);
    let used = strip(original, buffer, state, shown, &page, Variant::Original, theme);
    strip(pruned, buffer, state, shown, &page, Variant::Pruned, theme);
    if let Some(latent) = state.latent {
        let top = shown.strongest(latent);
        let most =
            if top > 0.0 { format!("largest {} ", format::activation(top)) } else { "silent on this prompt ".into() };
        let notes = match state.shade {
            Shade::Latent => [format!("shaded by #{latent} "), most],
            Shade::Difference => [format!("shaded by #{latent} "), "by its difference ".into()],
            Shade::Divergence => divergence_notes(state, shown),
        };
        for (area, note) in [original, pruned].into_iter().zip(notes) {
            if usize::from(used) + note.len() + 1 < usize::from(area.width) {
                put_right(buffer, area, Line::styled(note, theme.style(Role::Muted)));
            }
        }
    }
}

/// How far the models are apart, and where most.
fn divergence_notes(state: &State, shown: &Shown) -> [String; 2] {
    let second = match state.study.between(&shown.comparison.prompt) {
        Some(between) => format!("largest {:.2} nats ", between.iter().copied().fold(0.0, f32::max)),
        None if shown.comparison.view(Variant::Transfer).is_none() => "there is one model ".into(),
        None => "being read ".into(),
    };
    ["shaded by KL of the models ".into(), second]
}

/// The token drawn at a point of the strips.
pub fn hit(area: Rect, state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let shown = state.shown.as_ref()?;
    let page = page(shown, state.token, area.width.saturating_sub(NAME + 2), theme);
    let glyph = usize::from(theme.heat.is_empty());
    // The edge mark and the gap come before the first piece.
    let mut start = usize::from(area.x + NAME) + 2;
    for (offset, piece) in page.pieces.iter().enumerate() {
        let end = start + safe::width(piece) + glyph;
        if (start..end).contains(&usize::from(at.x)) {
            return Some(Pointed::Token(page.first + offset));
        }
        start = end + 1;
    }
    None
}

/// Pages are filled from the first token, so that the strip stands still while the selection moves within one.
fn page(shown: &Shown, selected: usize, width: u16, theme: &Theme) -> Page {
    let tokens = &shown.comparison.tokens;
    let glyph = usize::from(theme.heat.is_empty());
    let longest = usize::from(width).saturating_sub(2 + glyph).max(1);
    let mut page = Page { first: 0, pieces: Vec::new(), more: false };
    let mut used = 1;
    for (at, token) in tokens.iter().enumerate() {
        let piece = safe::cut(&safe::piece(&token.piece, theme.ascii), longest, theme.ascii);
        let cells = safe::width(&piece) + 1 + glyph;
        if used + cells > usize::from(width) && !page.pieces.is_empty() {
            if at > selected {
                page.more = true;
                break;
            }
            page = Page { first: at, pieces: Vec::new(), more: false };
            used = 1;
        }
        used += cells;
        page.pieces.push(piece);
    }
    page
}

/// Draws one strip; returns the cells used.
fn strip(
    area: Rect,
    buffer: &mut Buffer,
    state: &State,
    shown: &Shown,
    page: &Page,
    variant: Variant,
    theme: &Theme,
) -> u16 {
    let values = |v| state.latent.and_then(|l| shown.activations(v, l)).unwrap_or_default();
    let (own, original) = (values(variant), values(Variant::Original));
    let top = state.latent.map_or(0.0, |l| shown.strongest(l));
    let by_difference = state.shade == Shade::Difference && variant == Variant::Pruned;
    // One strip says how far the models are apart: the pruned one, since it is the pruned model that went there.
    let between = state.study.between(&shown.comparison.prompt).filter(|_| state.shade == Shade::Divergence);
    let worst = between.map_or(0.0, |between| between.iter().copied().fold(0.0, f32::max));
    let fresh = state.fresh(|target| shown.is_fresh(variant, target));
    let mark = theme
        .style(if state.focus == Panel::Tokens { Role::BorderFocus } else { Role::Accent })
        .add_modifier(Modifier::BOLD);
    let edge =
        |seen: bool, symbol: &'static str| Span::styled(if seen { symbol } else { " " }, theme.style(Role::Muted));
    let mut spans = vec![edge(page.first > 0, theme.symbol("‹", "<"))];
    for (offset, piece) in page.pieces.iter().enumerate() {
        let token = page.first + offset;
        // Brackets between the pieces mark the selected token, whatever the colours.
        spans.push(match (token == state.token, offset > 0 && token == state.token + 1) {
            (true, _) => Span::styled("[", mark),
            (_, true) => Span::styled("]", mark),
            _ => Span::raw(" "),
        });
        let value = own.get(token).copied().unwrap_or(0.0);
        let share = match (state.shade, variant, between) {
            (Shade::Divergence, Variant::Pruned, Some(between)) if worst > 0.0 => {
                between.get(token).copied().unwrap_or(0.0) / worst
            }
            (Shade::Divergence, ..) => 0.0,
            _ if top > 0.0 => value / top,
            _ => 0.0,
        };
        let special = shown.comparison.tokens.get(token).is_some_and(|t| t.special);
        let plain = if !fresh {
            theme.style(Role::Old)
        } else if special {
            theme.style(Role::Muted)
        } else {
            Style::new()
        };
        let change = if top > 0.0 { (value - original.get(token).copied().unwrap_or(0.0)) / top } else { 0.0 };
        let shade = if by_difference {
            (change != 0.0).then(|| theme.difference.at(0.5 + change / 2.0)).flatten()
        } else {
            (share > 0.0).then(|| theme.heat.at(share)).flatten()
        };
        let mut style = shade.unwrap_or(plain);
        if token == state.token {
            style = style.add_modifier(Modifier::BOLD);
        }
        spans.push(Span::styled(piece.clone(), style));
        if theme.heat.is_empty() {
            let glyph = match by_difference {
                true if change > 0.0 => theme.symbol("▲", "+"),
                true if change < 0.0 => theme.symbol("▼", "-"),
                true => " ",
                false => bars::strength(share, theme.ascii),
            };
            spans.push(Span::styled(glyph, theme.style(variant)));
        }
    }
    if state.token + 1 == page.first + page.pieces.len() {
        spans.push(Span::styled("]", mark));
    } else {
        spans.push(Span::raw(" "));
    }
    spans.push(edge(page.more, theme.symbol("›", ">")));
    let line = Line::from(spans);
    let used = line.width() as u16 + NAME;
    put(buffer, skip(area, NAME), line);
    used
}
