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
        let used: u64 = state.memory.iter().map(|(_, bytes)| bytes).sum();
        right = vec![Span::styled(safe::line(&info.device), muted), Span::raw(format!("  {} ", format::bytes(used)))];
    }
    let (left, right) = (Line::from(left), Line::from(right));
    let fits = left.width() + right.width() + 2 <= usize::from(area.width);
    put(buffer, area, left);
    if fits {
        put_right(buffer, area, right);
    }
}
