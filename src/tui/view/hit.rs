//! What a point of the screen stands for: the mouse's way in.

use ratatui::layout::{Position, Rect};

use crate::tui::{
    state::{Overlay, Panel, Pointed, Screen, State},
    theme::Theme,
    view::{
        atlas, form, layers, metrics,
        panels::{self, Areas},
        predictions, study,
    },
};

/// What is at a point of the screen.
pub fn hit(state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let (width, height) = state.size;
    let area = Rect::new(0, 0, width, height);
    match (&state.overlay, state.screen) {
        (Some(Overlay::Form(form)), _) => form::row_at(area, form, at).map(Pointed::Field),
        (None, Screen::Atlas) => atlas::hit(area, state, at),
        (None, Screen::Study) => study::hit(area, state, at).map(|(row, column)| Pointed::Square(row, column)),
        (None, Screen::Layers) => layers::hit(area, state, at).map(Pointed::Layer),
        (Some(Overlay::Help { .. } | Overlay::Palette { .. } | Overlay::Find(_) | Overlay::Open(_)), _) => {
            Some(Pointed::Scrolled)
        }
        (None, Screen::Latent | Screen::Session | Screen::Log) => Some(Pointed::Scrolled),
        (None, Screen::Predictions) => predictions::hit(area, state, theme, at),
        (None, Screen::Metrics) => metrics::hit(area, state, theme, at.x, at.y),
        (None, Screen::Explore) if state.has_session() => panels::hit(&Areas::new(area, state), state, theme, at),
        _ => None,
    }
}

/// What a drag that has come to a point stands for: it stays in the panel where it began.
pub fn dragged(state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    if state.overlay.is_some() || state.screen != Screen::Explore {
        return hit(state, theme, at);
    }
    let (width, height) = state.size;
    match (state.focus, hit(state, theme, at)) {
        (Panel::Ratio, _) => panels::slid(&Areas::new(Rect::new(0, 0, width, height), state), state, at),
        (Panel::Tokens, Some(Pointed::Token(token))) => Some(Pointed::Token(token)),
        (Panel::Latents, Some(Pointed::Row(row))) => Some(Pointed::Row(row)),
        _ => None,
    }
}
