//! What a point of the screen stands for: the mouse's way in.

use ratatui::layout::{Position, Rect};

use crate::tui::{
    state::{Overlay, Panel, Pointed, Screen, State},
    theme::Theme,
    view::{form, latents, layout, metrics, prompt, ratio, tokens},
};

/// What is at a point of the screen.
pub fn hit(state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let (width, height) = state.size;
    let area = Rect::new(0, 0, width, height);
    match (&state.overlay, state.screen) {
        (Some(Overlay::Form(form)), _) => return form::row_at(area, form, at).map(Pointed::Field),
        (None, Screen::Metrics) => return metrics::hit(area, state, theme, at.x, at.y),
        (None, Screen::Explore) if state.has_session() => {}
        _ => return None,
    }
    let areas = layout::explore(area, prompt::height(state, width, height), state.first_steps);
    let inside = |part: Rect| part.contains(at);
    if inside(areas.prompt) {
        Some(Pointed::Panel(Panel::Prompt))
    } else if inside(areas.original) || inside(areas.pruned) {
        Some(tokens::token_at(areas.original, state, theme, at.x).map_or(Pointed::Panel(Panel::Tokens), Pointed::Token))
    } else if inside(areas.latents) {
        Some(latents::row_at(areas.latents, state, at.y).map_or(Pointed::Panel(Panel::Latents), Pointed::Row))
    } else if inside(areas.ratio) {
        Some(ratio::ratio_at(areas.ratio, at).map_or(Pointed::Panel(Panel::Ratio), Pointed::Ratio))
    } else if inside(areas.detail) {
        Some(Pointed::Panel(Panel::Detail))
    } else if inside(areas.figures) {
        Some(Pointed::Panel(Panel::Figures))
    } else {
        None
    }
}
