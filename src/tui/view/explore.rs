//! The Explore screen.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::tui::{
    keys::action::{Action, Context},
    state::{Panel, State},
    theme::{Role, Theme},
    view::{
        detail, figures, footer, header, latents,
        layout::{self, Areas},
        loading, prompt, ratio, status, tokens,
    },
    widgets::{line_at, put},
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    let lines = prompt::height(state, area.width, area.height);
    let areas = layout::explore(area, lines, state.first_steps);
    header::render(areas.header, buffer, state, theme);
    let cursor = prompt::render(areas.prompt, buffer, state, theme);
    tokens::render(areas.original, areas.pruned, buffer, state, theme);
    middle(&areas, buffer, state, theme);
    figures::render(areas.figures, buffer, state, theme);
    ratio::render(areas.ratio, buffer, state, theme);
    first_steps(areas.first_steps, buffer, state, theme);
    status::render(areas.status, buffer, state, theme);
    footer::render(areas.footer, buffer, state, theme);
    cursor
}

fn middle(areas: &Areas, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if !state.has_session() {
        let empty = Rect { height: areas.detail.bottom().saturating_sub(areas.latents.y), ..areas.latents };
        loading::render(if areas.wide { areas.latents } else { empty }, buffer, state, theme);
        if areas.wide {
            detail::render(areas.detail, buffer, state, theme);
        }
    } else if areas.wide {
        latents::render(areas.latents, buffer, state, theme);
        detail::render(areas.detail, buffer, state, theme);
    } else if state.focus == Panel::Detail {
        // A narrow screen gives the panel the table's place while it has the focus.
        let both = Rect { height: areas.latents.height + areas.detail.height, ..areas.latents };
        detail::render(both, buffer, state, theme);
    } else {
        latents::render(areas.latents, buffer, state, theme);
        detail::render_lines(areas.detail, buffer, state, theme);
    }
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
            text(" 1  type a sentence above, or take an example; then "),
            key(Action::NextPanel),
            text(" leaves the prompt"),
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
