//! The slider: what its knob leaves of the SAE, and at which settings latents die.

use std::sync::Arc;

use prunelens_core::{
    compare::{Paths, Variant},
    sae::{Knob, Setting},
};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::tui::{
    keys::action::{Action, Context},
    state::{Panel, Pointed, State},
    theme::{Role, Theme},
    view::detail::GUTTER,
    widgets::{self, bars, chart::column_of, format, line_at, put, skip},
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if area.height < 3 {
        return one_line(area, buffer, state, theme);
    }
    let key = |action| state.keymap.key_of(action, &[Context::Global]);
    let criterion = match state.setting().knob.criterion() {
        Some(_) => format!("{} criterion  ", key(Action::Criterion)),
        None => String::new(),
    };
    let note = format!("{criterion}{} knob", key(Action::Knob));
    let panel = widgets::Panel::new(name(state.setting()), state.focus == Panel::Ratio).note(note);
    let inside = panel.render(area, buffer, theme);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    // Two rows of histogram where there are six lines.
    let tall = if inside.height >= 6 { 2 } else { 1 };
    histogram(Rect { height: tall.min(inside.height), ..inside }, buffer, state, theme);
    slider(skip(line_at(inside, tall), GUTTER), buffer, state, theme);
    let rest = Rect { y: inside.y + tall + 1, height: inside.height.saturating_sub(tall + 1), ..inside };
    put(buffer, line_at(rest, 0), kept(state, theme));
    put(buffer, line_at(rest, 1), alive(state, rest.width, theme));
    put(buffer, line_at(rest, 2), Line::styled(state.setting().knob.meaning(), theme.style(Role::Muted)));
}

/// The place of the slider at a point of the panel, where its slider and histogram are.
pub fn hit(area: Rect, _: &State, _: &Theme, at: Position) -> Option<Pointed> {
    let plot = plot(area);
    let lines = if area.height >= 8 { 3 } else { 2 };
    let on = (plot.x..plot.right()).contains(&at.x) && (area.y + 1..=area.y + lines).contains(&at.y);
    (area.height >= 3 && on).then(|| slid(area, at.x))
}

/// The place of the slider at a column, or at the end that is nearer.
pub fn slid(area: Rect, x: u16) -> Pointed {
    let plot = plot(area);
    let last = plot.width.saturating_sub(1).max(1);
    Pointed::Slider(f64::from(x.saturating_sub(plot.x).min(last)) / f64::from(last))
}

fn plot(area: Rect) -> Rect {
    Rect { x: area.x + 2 + GUTTER, width: area.width.saturating_sub(4 + GUTTER), ..area }
}

/// How many of the prompt's active latents die at each step of the grid, on the slider's scale.
fn histogram(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    put(buffer, line_at(area, area.height.saturating_sub(1)), Line::styled("die", theme.style(Role::Muted)));
    let Some(shown) = &state.shown else { return };
    // What is known of another knob has other places.
    let same = |paths: &&Arc<Paths>| paths.knob.name() == state.setting().knob.name();
    let Some(paths) = shown.paths.as_ref().filter(same) else { return };
    let deaths: Vec<f32> = paths
        .survival
        .iter()
        .enumerate()
        .map(|(step, &alive)| (alive - paths.survival.get(step + 1).copied().unwrap_or(0.0)).max(0.0) as f32)
        .collect();
    // Those beyond the last step of the grid are still alive there: they would hide the rest.
    let counted = deaths.len().saturating_sub(1);
    let most = deaths.iter().take(counted).copied().fold(0.0, f32::max);
    let plot = skip(area, GUTTER);
    let fresh = state.fresh(|target| shown.paths_fresh(target));
    let live = column_of(state.knobs.position(), plot.width);
    for row in 0..plot.height {
        let spans = (0..plot.width).map(|x| {
            let step = usize::from(x) * deaths.len() / usize::from(plot.width.max(1));
            let share =
                if most > 0.0 && step < counted { deaths.get(step).copied().unwrap_or(0.0) / most } else { 0.0 };
            let role = match fresh {
                false => Role::Old,
                true if x <= live => Role::Loss,
                true => Role::Muted,
            };
            Span::styled(bars::tall_column(share, row, plot.height, theme.ascii), theme.style(role))
        });
        put(buffer, line_at(plot, row), Line::from_iter(spans));
    }
}

fn slider(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let at = usize::from(column_of(state.knobs.position(), area.width));
    let (done, left, knob) = (theme.symbol("━", "="), theme.symbol("─", "-"), theme.symbol("●", "O"));
    let rest = usize::from(area.width).saturating_sub(at + 1);
    let line = Line::from(vec![
        Span::styled(done.repeat(at), theme.style(Role::Pruned)),
        Span::styled(knob, theme.style(Role::Accent)),
        Span::styled(left.repeat(rest), theme.style(Role::Border)),
    ]);
    put(buffer, area, line);
}

/// What is turned, where it stands, and how it chooses: "ratio 0.25  wanda", "bits 4  rtn".
fn name(setting: Setting) -> String {
    let at = if setting.knob.is_whole() { setting.at.to_string() } else { format!("{:.2}", setting.at) };
    format!("{} {at}  {}", setting.knob.name(), setting.knob.rule())
}

/// What is left of the SAE, by the knob's own measure, and the keys that turn it.
fn kept(state: &State, theme: &Theme) -> Line<'static> {
    let muted = theme.style(Role::Muted);
    let global = [Context::Global];
    let key = |action| Span::styled(state.keymap.key_of(action, &global), theme.style(Role::Key));
    let Setting { knob, at } = state.setting();
    let left = match knob {
        Knob::Ratio(_) | Knob::Latents(_) => format!("{:.0} %", (1.0 - at) * 100.0),
        Knob::Bits => format!("{at} bits "),
        Knob::Rank => format!("{at}/{} ", state.knobs.scale().d_in),
    };
    let [coarse, fine] = state.knobs.scale().steps();
    let mut spans = vec![
        Span::styled("kept  ", muted),
        Span::raw(format!("{left:<6}")),
        key(Action::RatioDown),
        Span::raw(" "),
        key(Action::RatioUp),
        Span::styled(format!(" {coarse}  "), muted),
    ];
    if fine != coarse {
        spans.extend([
            key(Action::RatioFineDown),
            Span::raw(" "),
            key(Action::RatioFineUp),
            Span::styled(format!(" {fine}  "), muted),
        ]);
    }
    spans.extend([key(Action::RatioZero), Span::styled(" none", muted)]);
    Line::from(spans)
}

/// Pairs of token and latent that the pruned SAE leaves of those that fire with the untouched one, and whether they are of the
/// setting now.
fn left(state: &State) -> Option<(usize, usize, bool)> {
    let shown = state.shown.as_ref()?;
    let fates = shown.fates?;
    let fresh = state.fresh(|target| shown.is_fresh(Variant::Pruned, target));
    Some((fates.transfer - fates.lost_to_sae, fates.transfer, fresh))
}

fn alive(state: &State, width: u16, theme: &Theme) -> Line<'static> {
    let muted = theme.style(Role::Muted);
    let Some((alive, all, fresh)) = left(state) else { return Line::default() };
    let share = if all > 0 { format!(" ({})", format::percent(alive as f64 / all as f64)) } else { String::new() };
    let style = theme.style(if fresh { Role::Text } else { Role::Old });
    let text = format!("{alive} of {all}{share}");
    let what = match usize::from(width).saturating_sub(text.len() + 7) {
        27.. => " pairs of token and latent",
        7.. => " pairs",
        _ => "",
    };
    Line::from(vec![Span::styled("alive ", muted), Span::styled(text, style), Span::styled(what, muted)])
}

/// For low screens: number, slider and survivors.
fn one_line(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let name = format!(" {}  ", name(state.setting()).replace("  ", " "));
    let left = left(state);
    let alive = left.map(|(alive, all, _)| format!("  {alive} of {all} pairs ")).unwrap_or_default();
    let track = skip(area, name.len() as u16);
    let track = Rect { width: track.width.saturating_sub(alive.len() as u16), ..track };
    let role = if left.is_some_and(|(.., fresh)| fresh) { Role::Muted } else { Role::Old };
    let focused = state.focus == Panel::Ratio;
    put(buffer, area, Line::styled(name, theme.style(if focused { Role::TitleFocus } else { Role::Text })));
    slider(track, buffer, state, theme);
    put(buffer, skip(area, track.right().saturating_sub(area.x)), Line::styled(alive, theme.style(role)));
}
