//! What a point of the screen stands for: the mouse's way in.

use ratatui::layout::{Position, Rect};

use crate::tui::{
    state::{Overlay, Pointed, Screen, State},
    theme::Theme,
    view::{
        atlas, form, metrics,
        panels::{self, Areas},
    },
};

/// What is at a point of the screen.
pub fn hit(state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let (width, height) = state.size;
    let area = Rect::new(0, 0, width, height);
    match (&state.overlay, state.screen) {
        (Some(Overlay::Form(form)), _) => form::row_at(area, form, at).map(Pointed::Field),
        (None, Screen::Atlas) => atlas::hit(area, state, at),
        (None, Screen::Metrics) => metrics::hit(area, state, theme, at.x, at.y),
        (None, Screen::Explore) if state.has_session() => panels::hit(&Areas::new(area, state), state, theme, at),
        _ => None,
    }
}
