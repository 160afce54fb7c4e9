//! What the models say comes next, side by side: left alone, with reconstructions, with edits.

use prunelens_core::compare::{
    Variant,
    predict::{Candidate, Prediction, Predictions, Speaker},
};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Pointed, State, Target},
        theme::{Role, Theme},
        view::{edits, frame, tokens},
        widgets::{self, bars, line_at, put, skip},
    },
};

/// Least cells of a block.
const BLOCK: u16 = 27;
/// Least cells of a bar.
const LEAST_BAR: usize = 8;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let strips = Rect { height: 2.min(middle.height), ..middle };
    tokens::render(strips, buffer, state, theme);
    let rest = Rect { y: middle.y + 2, height: middle.height.saturating_sub(2), ..middle };
    let piece = state.shown.as_ref().and_then(|shown| shown.comparison.tokens.get(state.token)).map(|token| {
        let piece = safe::cut(&safe::piece(&token.piece, theme.ascii), 24, theme.ascii);
        format!("after {} {piece}", state.token)
    });
    let edits = &state.edits;
    let in_force = match edits.list.len() {
        0 => "no edits in force".to_owned(),
        _ => format!("edits: {}", edits::in_force(edits, usize::from(area.width / 2))),
    };
    let key = state.wants_predictions();
    let current = key.as_ref().and_then(|key| state.predictions.current(key));
    let fresh = current.is_some();
    // What was said last stays, dimmed, until the new is there.
    let earlier = state.predictions.came.as_ref().map(|(_, predictions)| &**predictions);
    let note = if fresh { String::new() } else { widgets::spinner(state.spin(), theme.ascii).to_owned() };
    let panel = widgets::Panel::new(piece.unwrap_or_else(|| "predictions".into()), true).note(note);
    let panel = panel.foot(in_force, worst(current, state, theme));
    let inside = skip(panel.render(rest, buffer, theme), 1);
    let Some(predictions) = current.or(earlier) else {
        let text = if state.shown.is_none() { state.unread() } else { "asking the models" };
        return put(
            buffer,
            line_at(inside, inside.height / 2),
            Line::styled(text, theme.style(Role::Muted)).centered(),
        );
    };
    blocks(inside, buffer, state, predictions, fresh, theme);
}

/// A panel of its own beside the figures: both models, and the variants that edits are in force in.
pub fn beside(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let key = state.wants_predictions();
    let current = key.as_ref().and_then(|key| state.predictions.current(key));
    let earlier = state.predictions.came.as_ref().map(|(_, predictions)| &**predictions);
    // What was said last stays a moment, and dimmed until the new is there.
    let fresh = current.is_some() || state.fresh(|now| earlier_holds(state, now));
    let note =
        if current.is_some() || !state.predictions.waiting { "" } else { widgets::spinner(state.spin(), theme.ascii) };
    let predictions = current.or(earlier);
    let edited = predictions.is_some_and(|all| all.list.iter().any(|p| matches!(p.of, Speaker::Edited(_))));
    let title = if edited { "what comes next: both models, then with the edits" } else { "what comes next" };
    let inside = skip(widgets::Panel::new(title, false).note(note).render(area, buffer, theme), 1);
    let Some(predictions) = predictions else { return };
    let shown = |p: &&Prediction| match p.of {
        Speaker::Model(_) => true,
        Speaker::Spliced(variant) => !edited && variant == Variant::Pruned,
        Speaker::Edited(_) => true,
    };
    let columns = (inside.width / BLOCK).max(1);
    let width = inside.width / columns;
    for (column, prediction) in predictions.list.iter().filter(shown).take(usize::from(columns)).enumerate() {
        let block = Rect { x: inside.x + column as u16 * width, width: width.saturating_sub(2), ..inside };
        one(Rect { height: block.height + 1, ..block }, buffer, prediction, fresh, theme);
    }
}

/// The predictions that came last are of this target and of what is selected otherwise.
fn earlier_holds(state: &State, target: &Target) -> bool {
    state.predictions.came.as_ref().is_some_and(|(of, _)| of.target == *target && of.token == state.token)
}

/// The token drawn at a point of the screen.
pub fn hit(area: Rect, state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let strips = Rect { height: 2, ..super::middle(area) };
    strips.contains(at).then(|| tokens::hit(strips, state, theme, at)).flatten()
}

/// Where the models differ most.
fn worst(predictions: Option<&Predictions>, state: &State, theme: &Theme) -> String {
    let (Some(predictions), Some(shown)) = (predictions, &state.shown) else { return String::new() };
    let mut all: Vec<(usize, f32)> = predictions.between.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let named: Vec<String> = all
        .iter()
        .take(3)
        .filter_map(|(at, kl)| {
            let piece = &shown.comparison.tokens.get(*at)?.piece;
            Some(format!("{} {kl:.2}", safe::cut(&safe::piece(piece, theme.ascii), 12, theme.ascii)))
        })
        .collect();
    if named.is_empty() { String::new() } else { format!("models differ most after {}", named.join("  ")) }
}

/// Rows of blocks: models, reconstructions, edits.
fn blocks(area: Rect, buffer: &mut Buffer, state: &State, predictions: &Predictions, fresh: bool, theme: &Theme) {
    type Row = (&'static str, fn(&Speaker) -> bool);
    const ROWS: [Row; 3] = [
        ("alone", |of| matches!(of, Speaker::Model(_))),
        ("with the reconstruction in place", |of| matches!(of, Speaker::Spliced(_))),
        ("with the edits", |of| matches!(of, Speaker::Edited(_))),
    ];
    let rows: Vec<_> = ROWS
        .iter()
        .map(|(title, is)| (*title, predictions.list.iter().filter(|p| is(&p.of)).collect::<Vec<_>>()))
        .filter(|(_, list)| !list.is_empty())
        .collect();
    let height = area.height / rows.len().max(1) as u16;
    let columns = (area.width / BLOCK).max(1);
    let width = area.width / columns.min(4);
    for (at, (title, list)) in rows.into_iter().enumerate() {
        let row = Rect { y: area.y + at as u16 * height, height, ..area };
        let mut head = vec![Span::styled(title, theme.style(Role::Title))];
        // Where not all fit, some after the others.
        let at_once = usize::from(columns);
        let first = state.predictions.turned % list.len().div_ceil(at_once) * at_once;
        if list.len() > at_once {
            let key = state.keymap.key_of(Action::NextVariants, &[Context::Predictions]);
            let last = (first + at_once).min(list.len());
            let shown = if first + 1 == last { last.to_string() } else { format!("{} and {last}", first + 1) };
            head.push(Span::styled(format!("   {shown} of {}, ", list.len()), theme.style(Role::Muted)));
            head.push(Span::styled(key, theme.style(Role::Key)));
            head.push(Span::styled(" shows the others", theme.style(Role::Muted)));
        }
        put(buffer, row, Line::from(head));
        for (column, prediction) in list.into_iter().skip(first).take(at_once).enumerate() {
            let x = area.x + column as u16 * width;
            let block = Rect { x, y: row.y + 1, width: width.saturating_sub(2), height: height.saturating_sub(1) };
            one(block.intersection(area), buffer, prediction, fresh, theme);
        }
    }
}

fn one(area: Rect, buffer: &mut Buffer, prediction: &Prediction, fresh: bool, theme: &Theme) {
    let (Speaker::Model(variant) | Speaker::Spliced(variant) | Speaker::Edited(variant)) = prediction.of;
    let name = match prediction.of {
        Speaker::Model(Variant::Original) => "original model",
        Speaker::Model(_) => "pruned model",
        Speaker::Spliced(_) | Speaker::Edited(_) => variant.name(),
    };
    let style = |role: Role| theme.style(if fresh { role } else { Role::Old });
    let mut head = vec![Span::styled(name, style(Role::from(variant)))];
    if !matches!(prediction.of, Speaker::Model(_)) {
        head.push(Span::styled(format!("  KL {:.3}", prediction.kl), style(Role::Muted)));
    }
    if let Some(ce) = prediction.ce {
        head.push(Span::styled(format!("  CE {ce:.2}"), style(Role::Muted)));
    }
    put(buffer, area, Line::from(head));
    for (at, candidate) in prediction.top.iter().take(usize::from(area.height.saturating_sub(2))).enumerate() {
        put(buffer, line_at(area, at as u16 + 1), line(candidate, prediction.of, area.width, fresh, theme));
    }
}

/// Token, probability, change, and a bar.
fn line(candidate: &Candidate, of: Speaker, width: u16, fresh: bool, theme: &Theme) -> Line<'static> {
    let style = |role: Role| theme.style(if fresh { role } else { Role::Old });
    let piece = safe::cut(&safe::piece(&candidate.piece, theme.ascii), 11, theme.ascii);
    let pad = " ".repeat(12_usize.saturating_sub(safe::width(&piece)));
    let change = candidate.probability - candidate.alone;
    let (mark, role) = match change {
        _ if matches!(of, Speaker::Model(_)) || change.abs() < 0.0005 => (String::new(), Role::Muted),
        c if c > 0.0 => (format!("{}{:.3}", theme.symbol("▲", "+"), c), Role::Gain),
        c => (format!("{}{:.3}", theme.symbol("▼", "-"), -c), Role::Loss),
    };
    // A bar of a few cells says nothing that the number does not.
    let cells = Some(usize::from(width).saturating_sub(12 + 6 + 8)).filter(|cells| *cells >= LEAST_BAR).unwrap_or(0);
    Line::from(vec![
        Span::styled(format!("{piece}{pad}"), style(Role::Text)),
        Span::styled(format!("{:.3} ", candidate.probability), style(Role::Text)),
        Span::styled(format!("{mark:<7} "), style(role)),
        Span::styled(bars::meter(f64::from(candidate.probability), cells, theme.ascii), style(Role::Accent)),
    ])
}
