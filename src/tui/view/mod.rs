//! Drawing: the state and a theme in, cells out. Nothing here changes anything.

mod atlas;
mod copies;
mod detail;
mod edits;
mod explore;
mod figures;
mod find;
mod footer;
mod form;
mod generation;
mod header;
mod help;
pub mod hit;
mod jobs;
mod latent;
mod latents;
mod layers;
mod loading;
mod log;
mod metrics;
mod open;
mod overlay;
mod palette;
mod panels;
mod predictions;
mod prompt;
mod session;
mod slider;
mod status;
mod study;
mod texts;
mod tokens;
mod tour;

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::Line,
};

use crate::tui::{
    state::{Screen, State},
    theme::{Role, Theme},
    widgets::put,
};

/// Below this the screen only asks for room.
const SMALLEST: (u16, u16) = (60, 16);

/// Draw the whole screen into `area`; returns where text entry is.
pub fn view(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    let area = area.intersection(buffer.area);
    // Nothing may be left of an earlier frame, and the default background is never painted.
    ratatui::widgets::Widget::render(ratatui::widgets::Clear, area, buffer);
    buffer.set_style(area, theme.style(Role::Text));
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        ask_for_room(area, buffer, theme);
        return None;
    }
    let mut cursor = None;
    match state.screen {
        Screen::Explore => cursor = explore::render(area, buffer, state, theme),
        Screen::Latent => latent::render(area, buffer, state, theme),
        Screen::Predictions => predictions::render(area, buffer, state, theme),
        Screen::Generation => generation::render(area, buffer, state, theme),
        Screen::Metrics => metrics::render(area, buffer, state, theme),
        Screen::Atlas => atlas::render(area, buffer, state, theme),
        Screen::Layers => layers::render(area, buffer, state, theme),
        Screen::Study => study::render(area, buffer, state, theme),
        Screen::Session => session::render(area, buffer, state, theme),
        Screen::Log => log::render(area, buffer, state, theme),
    }
    tour::render(area, buffer, state, theme);
    if state.overlay.is_some() {
        cursor = overlay::render(area, buffer, state, theme);
    }
    cursor
}

/// A screen of its own, for tests and pictures.
pub fn draw(width: u16, height: u16, state: &State, theme: &Theme) -> (Buffer, Option<Position>) {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    let cursor = view(area, &mut buffer, state, theme);
    (buffer, cursor)
}

fn ask_for_room(area: Rect, buffer: &mut Buffer, theme: &Theme) {
    let (width, height) = SMALLEST;
    let full = format!("prunelens needs {width}x{height}, this is {}x{}", area.width, area.height);
    let text = if full.len() > usize::from(area.width) { format!("{width}x{height}, please") } else { full };
    let middle = Rect { y: area.y + area.height / 2, height: area.height.min(1), ..area };
    put(buffer, middle, Line::styled(text, theme.style(Role::Warning)).centered());
}

/// The chosen run's panel alone, as high as what it shows.
pub fn draw_run(width: u16, state: &State, theme: &Theme) -> Buffer {
    let mut state = state.clone();
    state.metrics.scroll = 0;
    let area = Rect::new(0, 0, width.clamp(SMALLEST.0, 200), PICTURE);
    let mut buffer = Buffer::empty(area);
    buffer.set_style(area, theme.style(Role::Text));
    let height = metrics::height(area, &state, theme);
    let area = Rect { height, ..area };
    buffer.resize(area);
    metrics::render_panel(area, &mut buffer, &state, theme);
    buffer
}

/// Lines of a picture, at most.
const PICTURE: u16 = 200;

/// What is between the header and the status line.
fn middle(area: Rect) -> Rect {
    Rect { y: area.y + 1, height: area.height.saturating_sub(3), ..area }
}

/// Header, middle, status line and footer of the screens that are not Explore.
fn frame(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Rect {
    let row = |y| Rect { y, height: 1, ..area };
    header::render(row(area.y), buffer, state, theme);
    status::render(row(area.bottom() - 2), buffer, state, theme);
    footer::render(row(area.bottom() - 1), buffer, state, theme);
    middle(area)
}
