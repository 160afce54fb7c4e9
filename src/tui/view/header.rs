//! The first line: what one is looking at, and where it runs.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Screen, State},
        theme::{Role, Theme},
        widgets::{format, put, put_right},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let muted = theme.style(Role::Muted);
    let mut left = vec![Span::styled(" prunelens ", theme.style(Role::Accent))];
    let place = match state.screen {
        Screen::Explore => None,
        Screen::Latent => Some("latent"),
        Screen::Predictions => Some("predictions"),
        Screen::Generation => Some("continued"),
        Screen::Metrics => Some("metrics"),
        Screen::Atlas => Some("atlas"),
        Screen::Layers => Some("layers"),
        Screen::Study => Some("study"),
        Screen::Session => Some("session"),
        Screen::Log => Some("log"),
    };
    if let Some(place) = place {
        left.push(Span::styled(format!("{} {place} ", theme.symbol("›", ">")), theme.style(Role::Title)));
    }
    if state.recording.is_some() {
        left.push(Span::styled(format!("{} recording ", theme.symbol("●", "*")), theme.style(Role::Error)));
    }
    let mut right = Vec::new();
    if let Some(info) = &state.info {
        let dot = theme.symbol("·", "-");
        let plain = |text: String| Span::raw(text);
        let parts = [
            vec![
                plain(format!("  {} ", safe::line(&info.model))),
                Span::styled(format!("{} {dot} ", format::count(info.parameters)), muted),
                plain(safe::line(&info.compression)),
            ],
            vec![Span::styled(format!("   {}", safe::line(&info.hook)), muted)],
            vec![plain(format!("   {}", safe::line(&info.sae)))],
        ];
        for part in parts {
            let width: usize = left.iter().chain(&part).map(Span::width).sum();
            if width <= usize::from(area.width) {
                left.extend(part);
            }
        }
        let used = format::bytes(state.memory.in_use());
        let gpu = state.memory.gpu.map(|bytes| format!("  gpu {}", format::bytes(bytes))).unwrap_or_default();
        let memory = Span::raw(format!("{gpu}  {used} "));
        let dtype = if info.dtype == "f32" { String::new() } else { format!(", {}", info.dtype) };
        let name = info.device.split(' ').next().unwrap_or_default();
        for device in [&info.device, name] {
            right.push(Line::from(vec![Span::styled(safe::line(device) + &dtype, muted), memory.clone()]));
        }
        right.push(Line::from(memory));
    }
    let left = Line::from(left);
    let room = usize::from(area.width).saturating_sub(left.width() + 2);
    put(buffer, area, left);
    // Where not all of it fits, memory is what changes.
    let right = right.into_iter().find(|right| right.width() <= room);
    put_right(buffer, area, right.unwrap_or_default());
}
