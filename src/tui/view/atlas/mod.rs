//! The atlas: every latent of the dictionary as a dot, beside the list of those that are looked at.

mod fates;
mod list;
mod plot;

use prunelens_metrics::atlas::Fate;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
    text::Line,
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Pointed, State, atlas::Look},
        theme::{Role, Theme},
        view::frame,
        widgets::{self, line_at, put, spinner, wrap},
    },
};

/// The plot's panel and the list's.
fn areas(middle: Rect) -> (Rect, Rect) {
    let side = (middle.width * 2 / 5).clamp(30, 64).min(middle.width);
    let plot = Rect { width: middle.width - side, ..middle };
    (plot, Rect { x: plot.right(), width: side, ..middle })
}

fn inner(panel: Rect) -> Rect {
    panel.inner(ratatui::layout::Margin { horizontal: 1, vertical: 1 })
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let view = &state.atlas;
    let (Some(atlas), Some(drawn)) = (&view.atlas, &view.drawn) else {
        return empty(middle, buffer, state, theme);
    };
    let about = &atlas.about;
    let of = format!("{} positions, {}", about.positions, safe::line(&about.pruned()));
    if view.look == Look::Fates {
        let title = format!("fates of {} latents at each ratio", about.d_sae);
        let inside = widgets::Panel::new(title, true).note(of).render(middle, buffer, theme);
        return fates::render(inside, buffer, &view.by_ratio, theme);
    }
    let (left, right) = areas(middle);
    let arrows = [theme.symbol("→", "->"), theme.symbol("↑", "^")];
    let [x, y] = [&drawn.x, &drawn.y].map(|axis| safe::line(&axis.name));
    let without = (drawn.without > 0).then(|| format!("{} without a value", drawn.without));
    let axes = [(&drawn.x, arrows[0]), (&drawn.y, arrows[1])].into_iter().filter(|(axis, _)| !axis.note().is_empty());
    let notes: Vec<String> =
        without.into_iter().chain(axes.map(|(axis, arrow)| format!("{arrow} {}", axis.note()))).collect();
    let filters = view.filters();
    let only = if filters.is_empty() { None } else { Some(format!("only {}", filters.join(", "))) };
    let foot = only.into_iter().chain(notes).collect::<Vec<_>>().join("; ");
    let title = format!("{} {x}  {} {y}", arrows[0], arrows[1]);
    let panel = widgets::Panel::new(title, !view.in_list).note(of).foot(safe::line(&foot), Line::default());
    let inside = panel.render(left, buffer, theme);
    plot::render(inside, buffer, state, drawn, theme);
    list::render(right, buffer, state, drawn, theme);
}

/// What is at a point of the screen.
pub fn hit(area: Rect, state: &State, at: Position) -> Option<Pointed> {
    state.atlas.drawn.as_ref().filter(|_| state.atlas.look == Look::Plot)?;
    let (left, right) = areas(super::middle(area));
    if right.contains(at) {
        return list::row_at(right, state, at.y).map(Pointed::Listed);
    }
    plot::place(plot::dots(inner(left)), at).map(|(x, y)| Pointed::Plot(x, y))
}

/// No atlas yet: how one is made.
fn empty(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let inside = widgets::Panel::new("atlas", true).render(area, buffer, theme);
    if state.atlas.waiting {
        let text = format!("{} reading the atlas", spinner(state.spin(), theme.ascii));
        let place = line_at(inside, inside.height / 2);
        return put(buffer, place, Line::styled(text, theme.style(Role::Muted)).centered());
    }
    let key = |action, context| state.keymap.key_of(action, &[context]);
    let (start, log) = (key(Action::OpenLatent, Context::Atlas), key(Action::Log, Context::Global));
    let text = match state.atlas.wanted {
        Some(_) => format!("the atlas of this session could not be read: {log} says why, {start} makes another"),
        None if state.jobs.iter().any(|job| job.spec.family == "atlas" && job.is_busy()) => {
            "an atlas is being measured: it opens here when it is done".to_owned()
        }
        None => format!(
            "The whole dictionary over a corpus: where each latent fires, at which ratio it dies, what became of it. \
             There is no atlas of this session yet: {start} chooses rows and ratios, and starts one"
        ),
    };
    let width = usize::from(inside.width).saturating_sub(4).min(70);
    let lines = wrap(&text, width);
    let top = (inside.height / 2).saturating_sub(lines.len() as u16 / 2);
    for (at, line) in lines.into_iter().enumerate() {
        put(buffer, line_at(inside, top + at as u16), Line::styled(line, theme.style(Role::Muted)).centered());
    }
}

/// The colour of a fate: the variant's that a latent is lost in, gain and loss; the letter is the sign beside it.
fn fate_style(fate: Fate, theme: &Theme) -> Style {
    theme.style(match fate {
        Fate::Kept => Role::Original,
        Fate::Weakened => Role::Loss,
        Fate::Rotated => Role::Warning,
        Fate::Absorbed => Role::Trained,
        Fate::DeadWithModel => Role::Transfer,
        Fate::DeadWithSae => Role::Pruned,
        Fate::Revived | Fate::New => Role::Gain,
        Fate::Silent => Role::Muted,
    })
}

fn letter(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "k",
        Fate::Weakened => "w",
        Fate::Rotated => "r",
        Fate::Absorbed => "a",
        Fate::DeadWithModel => "m",
        Fate::DeadWithSae => "s",
        Fate::Revived => "v",
        Fate::New => "n",
        Fate::Silent => "-",
    }
}
