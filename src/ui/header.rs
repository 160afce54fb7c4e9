//! The first line: what one is looking at, and where it runs.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    theme::{Role, Theme},
    widgets::{format, put, put_right},
};
use crate::{
    app::state::{Screen, State},
    safe,
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let muted = theme.style(Role::Muted);
    let mut left = vec![Span::styled(" prunelens ", theme.style(Role::Accent))];
    let place = match state.screen {
        Screen::Explore => None,
        Screen::Metrics => Some("metrics"),
        Screen::Session => Some("session"),
        Screen::Log => Some("log"),
    };
    if let Some(place) = place {
        left.push(Span::styled(format!("{} {place} ", theme.symbol("›", ">")), theme.style(Role::Title)));
    }
    let mut right = Vec::new();
    if let Some(info) = &state.info {
        let dot = theme.symbol("·", "-");
        left.push(Span::raw(format!("  {} ", safe::line(&info.model))));
        left.push(Span::styled(format!("{} {dot} ", format::count(info.parameters)), muted));
        left.push(Span::raw(safe::line(&info.compression)));
        left.push(Span::styled(format!("   {}", safe::line(&info.hook)), muted));
        left.push(Span::raw(format!("   {}", safe::line(&info.sae))));
        let used = format::bytes(state.memory_in_use());
        right = vec![Span::styled(safe::line(&info.device), muted), Span::raw(format!("  {used} "))];
    }
    let left = Line::from(left);
    let room = usize::from(area.width).saturating_sub(left.width() + 2);
    put(buffer, area, left);
    // Where only one of them fits, memory is what changes.
    while !right.is_empty() && Line::from(right.clone()).width() > room {
        right.remove(0);
    }
    put_right(buffer, area, Line::from(right));
}
