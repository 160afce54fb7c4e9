//! The prompt as both models read it, shaded by the selected latent.

use prunelens_core::compare::{Token, Variant};
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

/// What stands under each other: a token of the first prompt, and of the second where there is one.
struct Column {
    tokens: [Option<usize>; 2],
    pieces: [String; 2],
    cells: usize,
}

/// A stretch of columns that fits.
struct Page {
    first: usize,
    columns: Vec<Column>,
    more: bool,
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    // A second prompt's strips need lines of their own.
    let paired = state.pair.is_some() && area.height >= 4;
    let strips: &[(Variant, usize)] = match paired {
        true => &[(Variant::Original, 0), (Variant::Original, 1), (Variant::Pruned, 0), (Variant::Pruned, 1)],
        false => &[(Variant::Original, 0), (Variant::Pruned, 0)],
    };
    for (at, (variant, side)) in strips.iter().enumerate() {
        let name = if *side == 0 { format!(" {}", variant.name()) } else { format!(" {:>8}", "2nd") };
        put(buffer, line_at(area, at as u16), Line::styled(name, theme.style(*variant)));
    }
    let Some(shown) = &state.shown else { return };
    let notes = notes(state, shown);
    let page = page(state, shown, paired, room(area, state, &notes), theme);
    for (at, (variant, side)) in strips.iter().enumerate() {
        let line = line_at(area, at as u16);
        let used = strip(line, buffer, state, &page, (*variant, *side), theme);
        // Beside the first two.
        if let Some(note) = notes.get(at)
            && usize::from(used) + note.len() + 1 < usize::from(area.width)
        {
            put_right(buffer, line, Line::styled(note.clone(), theme.style(Role::Muted)));
        }
    }
}

/// Cells for tokens. A shade other than the usual one is always named, however long the prompt.
fn room(area: Rect, state: &State, notes: &[String]) -> u16 {
    let kept = match state.shade {
        Shade::Latent => 0,
        Shade::Difference | Shade::Divergence => notes.iter().map(|note| note.len() as u16 + 1).max().unwrap_or(0),
    };
    area.width.saturating_sub(NAME + 2 + kept)
}

/// What the strips are shaded by.
fn notes(state: &State, shown: &Shown) -> Vec<String> {
    let Some(latent) = state.latent else { return Vec::new() };
    let top = strongest(state, shown, latent);
    let most =
        if top > 0.0 { format!("largest {} ", format::activation(top)) } else { "silent on this prompt ".into() };
    match state.shade {
        Shade::Latent => vec![format!("shaded by #{latent} "), most],
        Shade::Difference => vec![format!("shaded by #{latent} "), "by its difference ".into()],
        Shade::Divergence => divergence_notes(state, shown).to_vec(),
    }
}

/// The largest activation of a latent on what is shown.
fn strongest(state: &State, shown: &Shown, latent: u32) -> f32 {
    let second = state.pair.as_ref().and_then(|pair| pair.shown.as_ref());
    second.map_or(0.0, |second| second.strongest(latent)).max(shown.strongest(latent))
}

/// How far the models are apart, and where most.
fn divergence_notes(state: &State, shown: &Shown) -> [String; 2] {
    let second = match state.predictions.between(&shown.comparison.prompt) {
        Some(between) => format!("largest {:.2} nats ", between.iter().copied().fold(0.0, f32::max)),
        None if shown.comparison.view(Variant::Transfer).is_none() => "there is one model ".into(),
        None => "being read ".into(),
    };
    ["shaded by KL of the models ".into(), second]
}

/// The token drawn at a point of the strips.
pub fn hit(area: Rect, state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let shown = state.shown.as_ref()?;
    let paired = state.pair.is_some() && area.height >= 4;
    let page = page(state, shown, paired, room(area, state, &notes(state, shown)), theme);
    let glyph = usize::from(theme.heat.is_empty());
    // The edge mark and the gap come before the first piece.
    let mut start = usize::from(area.x + NAME) + 2;
    for column in &page.columns {
        let end = start + column.cells + glyph;
        if (start..end).contains(&usize::from(at.x)) {
            return column.tokens[0].map(Pointed::Token);
        }
        start = end + 1;
    }
    None
}

/// Pages are filled from the first token, so that the strip stands still while the selection moves within one; the last one from
/// the last token, or it would often show hardly any.
fn page(state: &State, shown: &Shown, paired: bool, width: u16, theme: &Theme) -> Page {
    let first: &Vec<Token> = &shown.comparison.tokens;
    let pair = state.pair.as_ref().filter(|_| paired);
    let second = pair.and_then(|pair| pair.shown.as_ref()).map(|shown| &*shown.comparison.tokens);
    let beside: Vec<[Option<usize>; 2]> = match pair {
        Some(pair) => pair.tokens.iter().map(|(first, second)| [*first, *second]).collect(),
        None => (0..first.len()).map(|at| [Some(at), None]).collect(),
    };
    let selected = beside.iter().position(|tokens| tokens[0] == Some(state.token)).unwrap_or(0);
    let glyph = usize::from(theme.heat.is_empty());
    let longest = usize::from(width).saturating_sub(2 + glyph).max(1);
    let piece = |tokens: Option<&Vec<Token>>, at: Option<usize>| {
        let token = at.and_then(|at| tokens?.get(at));
        token.map_or_else(String::new, |t| safe::cut(&safe::piece(&t.piece, theme.ascii), longest, theme.ascii))
    };
    let column = |tokens: [Option<usize>; 2]| {
        let pieces = [piece(Some(first), tokens[0]), piece(second, tokens[1])];
        let cells = safe::width(&pieces[0]).max(safe::width(&pieces[1]));
        Column { tokens, pieces, cells }
    };
    let mut page = Page { first: 0, columns: Vec::new(), more: false };
    let mut used = 1;
    for (at, tokens) in beside.iter().enumerate() {
        let column = column(*tokens);
        let cells = column.cells + 1 + glyph;
        if used + cells > usize::from(width) && !page.columns.is_empty() {
            if at > selected {
                page.more = true;
                break;
            }
            page = Page { first: at, columns: Vec::new(), more: false };
            used = 1;
        }
        used += cells;
        page.columns.push(column);
    }
    while !page.more
        && let Some(before) = page.first.checked_sub(1)
    {
        let column = column(beside[before]);
        used += column.cells + 1 + glyph;
        if used > usize::from(width) {
            break;
        }
        page.columns.insert(0, column);
        page.first = before;
    }
    page
}

/// Draws one strip of a variant, of the first prompt or of the second; returns the cells used.
fn strip(
    area: Rect,
    buffer: &mut Buffer,
    state: &State,
    page: &Page,
    (variant, side): (Variant, usize),
    theme: &Theme,
) -> u16 {
    let Some(first) = &state.shown else { return 0 };
    let pair = state.pair.as_ref().filter(|_| side == 1);
    let shown = match pair {
        Some(pair) => match &pair.shown {
            Some(shown) => shown,
            None => return 0,
        },
        None => first,
    };
    let values = |v| state.latent.and_then(|l| shown.activations(v, l)).unwrap_or_default();
    let (own, original) = (values(variant), values(Variant::Original));
    let top = state.latent.map_or(0.0, |l| strongest(state, first, l));
    let by_difference = state.shade == Shade::Difference && variant == Variant::Pruned;
    // One strip says how far the models are apart: the pruned one, since it is the pruned model that went there.
    let between = state.predictions.between(&shown.comparison.prompt).filter(|_| state.shade == Shade::Divergence);
    let worst = between.map_or(0.0, |between| between.iter().copied().fold(0.0, f32::max));
    let fresh = state.fresh(|target| match pair {
        Some(pair) => shown.is_fresh(variant, &pair.target(target)),
        None => shown.is_fresh(variant, target),
    });
    let mark = theme
        .style(if state.focus == Panel::Tokens { Role::BorderFocus } else { Role::Accent })
        .add_modifier(Modifier::BOLD);
    let edge =
        |seen: bool, symbol: &'static str| Span::styled(if seen { symbol } else { " " }, theme.style(Role::Muted));
    let mut spans = vec![edge(page.first > 0, theme.symbol("‹", "<"))];
    let mut was_selected = false;
    for column in &page.columns {
        let selected = column.tokens[0] == Some(state.token);
        // Brackets between the pieces mark the selected token, whatever the colours.
        spans.push(match (selected, was_selected) {
            (true, _) => Span::styled("[", mark),
            (_, true) => Span::styled("]", mark),
            _ => Span::raw(" "),
        });
        was_selected = selected;
        let piece = &column.pieces[side];
        let pad = " ".repeat(column.cells - safe::width(piece));
        let Some(token) = column.tokens[side] else {
            spans.push(Span::raw(pad + if theme.heat.is_empty() { " " } else { "" }));
            continue;
        };
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
        if selected {
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
        if !pad.is_empty() {
            spans.push(Span::raw(pad));
        }
    }
    if was_selected {
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
