//! The screen of one latent: its path, what it does on a corpus in every variant, and the texts on which it does it.

use prunelens_core::{
    compare::Variant,
    index::{Corpus, LatentPage},
    sae::{Knob, Setting},
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::tui::{
    state::State,
    theme::{Role, Theme},
    view::{
        detail::{self, Look},
        frame, texts,
    },
    widgets::{self, bars, format, line_at, put, skip},
};

/// Lines of the upper panels, and cells of the path's.
const UPPER: u16 = 13;
const PATH: u16 = 44;
/// Height of the screen's middle from which a pinned latent's figures stand below those of the other.
const TALL: u16 = 44;
/// Cells from which a variant's row has all of its figures.
const WIDE: u16 = 58;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let beside = state.latent_view.pinned_beside(state.latent);
    let further = beside.filter(|_| middle.height >= TALL).map_or(0, |pinned| pinned.variants.len() as u16 + 2);
    let height = UPPER.min(middle.height / 2) + further;
    let upper = Rect { height, ..middle };
    let lower = Rect { y: middle.y + height, height: middle.height - height, ..middle };
    let page = state.latent_view.page.as_deref().filter(|page| Some(page.latent) == state.latent);
    let side = PATH.min(upper.width / 2);
    path(Rect { width: side, ..upper }, buffer, state, theme);
    corpus(skip(upper, side), buffer, state, page, beside.filter(|_| further > 0), theme);
    let half = lower.width / 2;
    let (left, right) = (Rect { width: half, ..lower }, skip(lower, half));
    let Some(page) = page else {
        let inside = widgets::Panel::new("texts", true).render(lower, buffer, theme);
        let text = format!("{} reading the corpus", widgets::spinner(state.spin(), theme.ascii));
        return put(
            buffer,
            line_at(inside, inside.height / 2),
            Line::styled(text, theme.style(Role::Muted)).centered(),
        );
    };
    let (own, other) = match beside {
        Some(pinned) => ((page, state.latent_view.both), (pinned, state.latent_view.both)),
        None => ((page, Variant::Original), (page, state.latent_view.beside)),
    };
    let lines = [(left, own), (right, other)].map(|(area, (page, variant))| {
        let width = usize::from(area.width).saturating_sub(4);
        (area, page, variant, listed(page, variant, width, theme))
    });
    let longest = lines.iter().map(|(_, _, _, lines)| lines.len()).max().unwrap_or_default();
    let visible = usize::from(lower.height.saturating_sub(2));
    let first = state.latent_view.scroll.min(longest.saturating_sub(visible));
    for (area, page, variant, lines) in lines {
        let name = match (state.latent_view.is_pinned(page.latent), beside) {
            (true, Some(_)) => format!("#{} on {variant}, pinned{}", page.latent, seen(page, own.0)),
            (true, None) => format!("on {variant}, pinned"),
            (false, Some(_)) => format!("#{} on {variant}", page.latent),
            (false, None) => format!("on {variant}"),
        };
        let panel = widgets::Panel::new(Line::styled(name, theme.style(variant)), area.x == lower.x);
        let inside = skip(panel.render(area, buffer, theme), 1);
        for (at, line) in lines.into_iter().skip(first).take(visible).enumerate() {
            put(buffer, line_at(inside, at as u16), line);
        }
    }
    widgets::scrollbar(buffer, lower, longest, visible, first, theme);
}

/// Of how much text a page is, where that is not what the other one is of.
fn seen(page: &LatentPage, other: &LatentPage) -> String {
    let setting =
        if page.setting == other.setting { String::new() } else { format!(", its pruned at {}", short(page.setting)) };
    match page.tokens == other.tokens {
        true => setting,
        false => format!(" when {} tokens were read{setting}", page.tokens),
    }
}

fn path(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let panel = widgets::Panel::new(detail::titled(state, theme), false);
    let (Some(shown), Some(detail)) = (&state.shown, &state.detail) else {
        panel.render(area, buffer, theme);
        return;
    };
    let look = Look::new(state, shown, detail, theme);
    let inside = panel.note(look.fate()).render(area, buffer, theme);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let chart = inside.height.saturating_sub(1);
    look.chart(Rect { height: chart, ..inside }, buffer, state);
    look.axis(line_at(inside, chart), buffer, state);
}

/// A row a variant, then what it promotes and what is near it; then the rows of another latent, where there is room.
fn corpus(
    area: Rect,
    buffer: &mut Buffer,
    state: &State,
    page: Option<&LatentPage>,
    pinned: Option<&LatentPage>,
    theme: &Theme,
) {
    let title = match page {
        Some(page) if page.rows.0 < page.rows.1 => {
            format!("on {} tokens, {} of {} rows", page.tokens, page.rows.0, page.rows.1)
        }
        Some(page) => format!("on {} tokens", page.tokens),
        None => "on the corpus".into(),
    };
    let stale = page.filter(|page| page.setting != state.setting());
    let note = stale.map_or_else(String::new, |_| format!("pruned at {} is read when idle", state.setting().value()));
    let inside = widgets::Panel::new(title, false).note(note).render(area, buffer, theme);
    let inside = skip(inside, 1);
    let Some(page) = page else { return };
    let muted = theme.style(Role::Muted);
    let head = match inside.width < WIDE {
        true => format!("{:<15}{:>8}{:>7}{:>7}", "", "fires on", "most", "here"),
        false => {
            format!("{:<16}{:>9}{:>7}{:>8}{:>8}{:>8}  histogram", "", "fires on", "log10", "mean", "largest", "here")
        }
    };
    put(buffer, inside, Line::styled(head, muted));
    for (at, (variant, corpus)) in page.variants.iter().enumerate() {
        put(buffer, line_at(inside, at as u16 + 1), row(state, page, *variant, corpus, inside.width, theme));
    }
    let width = usize::from(inside.width);
    let mut words = Vec::new();
    if let (Some(shown), Some(detail)) = (&state.shown, &state.detail)
        && detail.latent == page.latent
    {
        let look = Look::new(state, shown, detail, theme);
        words.push(look.pieces("promotes    ", &detail.promotes, width));
        words.push(look.pieces("suppresses  ", &detail.suppresses, width));
    }
    // As many as fit whole.
    let list = |all: &mut dyn Iterator<Item = (u32, f32)>| -> String {
        let mut text = String::new();
        for (latent, cosine) in all {
            let one = format!("#{latent} {}   ", format::cosine(cosine));
            if text.len() + one.trim_end().len() + 12 > width {
                break;
            }
            text += &one;
        }
        match text.is_empty() {
            true if page.rows.0 < page.rows.1 => "none known yet".into(),
            true => "none known".into(),
            false => text,
        }
    };
    let near = list(&mut page.near.iter().copied());
    let together = list(&mut page.coactive.iter().map(|other| (other.latent, other.cosine)));
    for (name, text) in [("near it     ", near), ("fires with  ", together)] {
        words.push(Line::from(vec![Span::styled(name, muted), Span::raw(text)]));
    }
    words.extend(importance(state, page, width, theme));
    let from = page.variants.len() as u16 + 2;
    for (at, line) in words.into_iter().enumerate() {
        put(buffer, line_at(inside, from + at as u16), line);
    }
    let Some(pinned) = pinned else { return };
    let from = inside.height.saturating_sub(pinned.variants.len() as u16 + 1);
    let title = format!("#{}, pinned{}", pinned.latent, seen(pinned, page));
    put(buffer, line_at(inside, from), Line::styled(title, theme.style(Role::Title)));
    for (at, (variant, corpus)) in pinned.variants.iter().enumerate() {
        let line = row(state, pinned, *variant, corpus, inside.width, theme);
        put(buffer, line_at(inside, from + 1 + at as u16), line);
    }
}

/// What the original's loss owes to the latent and to those near it, where an atlas of this SAE has measured it.
fn importance(state: &State, page: &LatentPage, width: usize, theme: &Theme) -> Option<Line<'static>> {
    let measured = state.atlas.atlas.as_ref()?.column("importance")?;
    let mut text = String::new();
    for latent in std::iter::once(page.latent).chain(page.near.iter().map(|(latent, _)| *latent)) {
        let value = measured.get(latent as usize).copied().filter(|value| value.is_finite());
        let one = format!("#{latent} {}   ", value.map_or_else(|| "-".to_owned(), format::figure));
        if text.len() + one.trim_end().len() + 12 > width {
            break;
        }
        text += &one;
    }
    (!text.is_empty())
        .then(|| Line::from(vec![Span::styled("importance  ", theme.style(Role::Muted)), Span::raw(text)]))
}

/// In as few cells as there are.
fn short(setting: Setting) -> String {
    match setting.knob {
        Knob::Latents(_) => format!("{:.2}", setting.at),
        _ => setting.value(),
    }
}

fn row(
    state: &State,
    page: &LatentPage,
    variant: Variant,
    corpus: &Corpus,
    width: u16,
    theme: &Theme,
) -> Line<'static> {
    let name = match variant {
        Variant::Pruned => format!("pruned {}", short(page.setting)),
        Variant::Trained => format!("trained #{}", corpus.latent),
        _ => variant.name().to_owned(),
    };
    let density = corpus.fires as f64 / page.tokens.max(1) as f64;
    let dot = || theme.symbol("·", ".").to_owned();
    let here = state.shown.as_ref().and_then(|shown| {
        let value = shown.comparison.view(variant)?.latents.get(state.token, corpus.latent);
        // The corpus has the setting it was read at, the prompt the live one.
        let same = variant != Variant::Pruned || shown.of.setting == page.setting;
        same.then(|| if value > 0.0 { format::activation(value) } else { dot() })
    });
    let fires = corpus.fires > 0;
    // Of nothing nothing is known.
    let silent = || if page.tokens > 0 { dot() } else { "?".into() };
    let value = |value: f32| if fires { format::activation(value) } else { silent() };
    let here = here.unwrap_or_else(|| "?".into());
    let density_text = if fires { format::percent(density) } else { silent() };
    if width < WIDE {
        return Line::from(vec![
            Span::styled(format!("{name:<15}"), theme.style(variant)),
            Span::raw(format!("{density_text:>8}{:>7}{here:>7}", value(corpus.max))),
        ]);
    }
    let figures = format!(
        "{:>9}{:>7}{:>8}{:>8}{:>8}  ",
        density_text,
        if fires { format!("{:.1}", density.log10()) } else { dot() },
        value(corpus.mean),
        value(corpus.max),
        here,
    );
    let cells = usize::from(width).saturating_sub(16 + figures.len() + 1).min(50);
    Line::from(vec![
        Span::styled(format!("{name:<16}"), theme.style(variant)),
        Span::raw(figures),
        Span::styled(histogram(&corpus.histogram, cells, theme).concat(), theme.style(variant)),
    ])
}

/// Bars, as many as there are cells, by the logarithm of their counts: what is rare is seen beside what is frequent.
fn histogram(counts: &[u32], cells: usize, theme: &Theme) -> Vec<&'static str> {
    if cells == 0 {
        return Vec::new();
    }
    let merged: Vec<f32> = (0..cells)
        .map(|cell| {
            let ends = [cell, cell + 1].map(|at| at * counts.len() / cells);
            counts[ends[0]..ends[1].max(ends[0] + 1).min(counts.len())].iter().map(|n| *n as f32).sum::<f32>().ln_1p()
        })
        .collect();
    let most = merged.iter().copied().fold(0.0, f32::max);
    bars::spark(&merged, most, cells, theme.ascii)
}

/// The strongest texts, then some of each interval.
fn listed(page: &LatentPage, variant: Variant, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let muted = theme.style(Role::Muted);
    let Some((_, corpus)) = page.variants.iter().find(|(of, _)| *of == variant) else {
        let text = match variant {
            Variant::Trained => "no match in trained is known",
            _ => "there is no such variant in this session",
        };
        return vec![Line::styled(text, muted)];
    };
    if corpus.fires == 0 {
        let text = match page.rows {
            (0, _) => "nothing of the corpus is read yet",
            (read, all) if read < all => "silent on what is read so far",
            _ => "silent on all of it",
        };
        return vec![Line::styled(text, muted)];
    }
    let line = |example| texts::line(example, corpus.max, width, true, theme);
    let mut lines: Vec<Line> = corpus.texts.top.iter().map(line).collect();
    for interval in corpus.texts.intervals.iter().filter(|interval| !interval.examples.is_empty()) {
        let bounds = [interval.from, interval.to].map(format::activation);
        let dash = theme.symbol("–", "-");
        lines.push(Line::default());
        lines.push(Line::styled(
            format!("{} {dash} {}   on {} of tokens", bounds[0], bounds[1], format::percent(interval.share)),
            theme.style(Role::Title),
        ));
        lines.extend(interval.examples.iter().map(line));
    }
    lines
}
