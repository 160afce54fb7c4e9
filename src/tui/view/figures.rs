//! How good each variant is on this prompt.

use prunelens_core::compare::Variant;
use prunelens_metrics::Better;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::tui::{
    keys::action::{Action, Context},
    state::{Panel, Shown, State},
    theme::{Role, Theme},
    widgets::{self, format, line_at, put, spinner},
};

/// One row: a name, how to read it off a variant, and which way is better.
struct Figure {
    name: &'static str,
    better: Better,
    format: fn(f64) -> String,
    read: fn(&Shown, Variant) -> Option<(f64, &crate::tui::state::Target)>,
}

macro_rules! figure {
    ($name:literal, $better:ident, $format:expr, $part:ident, $field:ident) => {
        Figure {
            name: $name,
            better: Better::$better,
            format: $format,
            read: |shown, v| shown.$part[v as usize].as_ref().map(|d| (d.value.$field, &d.of)),
        }
    };
}

/// In the order of importance: a low panel shows the first ones.
const FIGURES: [Figure; 7] = [
    figure!("variance", Higher, format::loss, reconstruction, explained_variance),
    figure!("L0", Neither, format::l0, reconstruction, l0),
    figure!("CE", Lower, format::loss, splice, ce_loss_with_sae),
    figure!("KL", Lower, format::loss, splice, kl_div_with_sae),
    figure!("CE no SAE", Lower, format::loss, splice, ce_loss_without_sae),
    figure!("cosine", Higher, format::loss, reconstruction, cossim),
    figure!("MSE", Lower, format::figure, reconstruction, mse),
];

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if area.height < 3 {
        return;
    }
    let mut title = vec![Span::raw(if state.shows_earlier_text() { "the earlier text" } else { "this prompt" })];
    if let Some(shown) = &state.shown
        && let Some(of) = shown.reconstruction[Variant::Pruned as usize].as_ref().map(|d| &d.of)
        && !state.fresh(|target| of == target)
    {
        title.push(Span::styled(format!(" at {}", of.setting), theme.style(Role::Old)));
    }
    let more = match &state.shown {
        // The screen of the session has room for all.
        Some(shown) if columns(shown, area.width.saturating_sub(2)).len() < shown.comparison.views.len() => {
            format!("{} all", state.keymap.key_of(Action::Session, &[Context::Global]))
        }
        _ => String::new(),
    };
    let note = if state.comparing() { spinner(state.spin(), theme.ascii).to_owned() } else { more };
    let inside = widgets::Panel::new(title, state.focus == Panel::Figures).note(note).render(area, buffer, theme);
    let Some(shown) = &state.shown else {
        let text = "variance, L0, CE, KL";
        return put(
            buffer,
            line_at(inside, inside.height / 2),
            Line::styled(text, theme.style(Role::Muted)).centered(),
        );
    };
    let columns = columns(shown, inside.width);
    let lines = lines(shown, &columns, inside.width, state, theme).take(usize::from(inside.height));
    for (at, line) in lines.enumerate() {
        put(buffer, line_at(inside, at as u16), line);
    }
}

/// A narrow panel keeps what the user came for.
fn columns(shown: &Shown, width: u16) -> Vec<Variant> {
    let variants = shown.comparison.views.iter().map(|view| view.variant);
    match usize::from(width) < NAME + shown.comparison.views.len() * PLAIN {
        true => variants.filter(|v| matches!(v, Variant::Original | Variant::Pruned)).collect(),
        false => variants.collect(),
    }
}

/// Names of variants, and a line a figure.
fn lines<'a>(
    shown: &'a Shown,
    columns: &'a [Variant],
    width: u16,
    state: &'a State,
    theme: &'a Theme,
) -> impl Iterator<Item = Line<'static>> + 'a {
    let full = NAME + PLAIN + (columns.len().max(1) - 1) * FULL <= usize::from(width);
    let head = |&v: &Variant| {
        let text = format!("{:>VALUE$}{:w$}", v.name(), "", w = cells(v, full) - VALUE);
        Span::styled(text, theme.style(v))
    };
    let heads = [Span::raw(" ".repeat(NAME))].into_iter().chain(columns.iter().map(head));
    let rows = FIGURES.iter().map(move |figure| row(figure, shown, columns, full, state, theme));
    std::iter::once(Line::from_iter(heads)).chain(rows)
}

/// All of them, of all variants, where something is shown.
pub fn all(width: u16, state: &State, theme: &Theme) -> Vec<Line<'static>> {
    let of = |shown: &Shown| {
        let variants: Vec<Variant> = shown.comparison.views.iter().map(|view| view.variant).collect();
        lines(shown, &variants, width, state, theme).collect()
    };
    state.shown.as_ref().map(of).unwrap_or_default()
}

/// Cells of a row's name, a value, a value with its arrow, and with its difference too.
const NAME: usize = 11;
const VALUE: usize = 8;
const PLAIN: usize = 11;
const FULL: usize = 15;

/// Cells of a variant's column: the original has nothing to differ from.
fn cells(variant: Variant, full: bool) -> usize {
    if full && variant != Variant::Original { FULL } else { PLAIN }
}

fn row(figure: &Figure, shown: &Shown, columns: &[Variant], full: bool, state: &State, theme: &Theme) -> Line<'static> {
    let original = (figure.read)(shown, Variant::Original).map(|(v, _)| v);
    let mut spans = vec![Span::styled(format!(" {:<w$}", figure.name, w = NAME - 1), theme.style(Role::Muted))];
    for &variant in columns {
        let width = cells(variant, full);
        let Some((value, of)) = (figure.read)(shown, variant) else {
            spans.push(Span::styled(format!("{:>VALUE$}{:w$}", "-", "", w = width - VALUE), theme.style(Role::Muted)));
            continue;
        };
        let fresh = state.fresh(|now| of.prompt == now.prompt && (variant != Variant::Pruned || of == now));
        let pick = |role| theme.style(if fresh { role } else { Role::Old });
        spans.push(Span::styled(format!("{:>VALUE$}", (figure.format)(value)), pick(Role::Text)));
        let difference = original.filter(|_| variant != Variant::Original).map(|o| value - o);
        let (text, role) = match difference {
            Some(d) if d.is_finite() => change(d, figure.better, full.then_some(figure.format), theme),
            _ => (String::new(), Role::Muted),
        };
        spans.push(Span::styled(format!("{text:<w$}", w = width - VALUE), pick(role)));
    }
    Line::from(spans)
}

/// An arrow for the direction, its colour for better or worse.
pub fn change(difference: f64, better: Better, format: Option<fn(f64) -> String>, theme: &Theme) -> (String, Role) {
    let digits = format.map(|format| format(difference.abs()));
    // Nor where rounding leaves nothing of it.
    let is_nothing = |digits: &String| digits.chars().all(|c| !c.is_ascii_digit() || c == '0');
    if difference.abs() < 0.0005 || digits.as_ref().is_some_and(is_nothing) {
        return (String::new(), Role::Muted);
    }
    let up = difference > 0.0;
    let arrow = if up { theme.symbol("▲", "+") } else { theme.symbol("▼", "-") };
    let role = match better {
        Better::Neither => Role::Muted,
        Better::Higher if up => Role::Gain,
        Better::Lower if !up => Role::Gain,
        Better::Higher | Better::Lower => Role::Loss,
    };
    let text = format!(" {arrow}{}", digits.unwrap_or_default());
    (text, role)
}
