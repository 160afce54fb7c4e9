//! The Explore screen.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::tui::{
    keys::action::{Action, Context},
    state::State,
    theme::{Role, Theme},
    view::{
        footer, header,
        panels::{self, Areas},
        status,
    },
    widgets::{line_at, put},
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    let areas = Areas::new(area, state);
    header::render(areas.header, buffer, state, theme);
    let cursor = panels::render(&areas, buffer, state, theme);
    first_steps(areas.first_steps, buffer, state, theme);
    status::render(areas.status, buffer, state, theme);
    footer::render(areas.footer, buffer, state, theme);
    cursor
}

/// What to do first, until it was done once.
fn first_steps(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let chain = [Context::Explore, Context::Global, Context::Always];
    let key = |action| {
        let keys = state.keymap.key_of(action, &chain);
        let keys = if theme.ascii { super::footer::ascii_arrows(&keys) } else { keys };
        Span::styled(keys, theme.style(Role::Key))
    };
    let text = |text| Span::styled(text, theme.style(Role::Muted));
    let lines = [
        Line::from(vec![
            text(" 1  type a sentence above and leave it with "),
            key(Action::NextPanel),
            text(", or take an example"),
        ]),
        Line::from(vec![
            text(" 2  "),
            key(Action::LatentUp),
            text(" "),
            key(Action::LatentDown),
            text(" choose a latent, "),
            key(Action::TokenLeft),
            text(" "),
            key(Action::TokenRight),
            text(" a token: the strips show where it fires in both models"),
        ]),
        Line::from(vec![
            text(" 3  "),
            key(Action::RatioUp),
            text(" prunes the SAE step by step, "),
            key(Action::RatioDown),
            text(" takes it back: watch latents weaken and die"),
        ]),
    ];
    for (at, line) in lines.into_iter().enumerate() {
        put(buffer, line_at(area, at as u16), line);
    }
}
