//! The line above the footer: jobs to the left, the latest message to the right.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::Action,
        state::{Coming, Level, Screen, State},
        theme::{Role, Theme},
        view::jobs,
        widgets::{put, put_right, spinner},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    message(area, buffer, state, theme);
    if let Some(count) = state.count {
        let text = format!(" {} times: a move comes next ", count.number);
        put_right(buffer, area, Line::styled(text, theme.style(Role::Accent)));
    }
}

fn message(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let left = match &state.coming {
        Some(coming) => opening(coming, state, theme),
        None => jobs::line(state, theme),
    };
    let Some(entry) = state.log.status() else {
        let left = if left.width() == 0 && state.screen == Screen::Explore && state.has_session() {
            idle(state, theme)
        } else {
            left
        };
        return put(buffer, area, left);
    };
    let (role, mark) = match entry.level {
        Level::Info => (Role::Text, ""),
        Level::Warning => (Role::Warning, "! "),
        Level::Error => (Role::Error, theme.symbol("✗ ", "x ")),
    };
    let more = match entry.level {
        Level::Info => String::new(),
        Level::Warning | Level::Error => {
            let log = state.keymap.key_of(Action::Log, &[crate::tui::keys::action::Context::Global]);
            format!("  {log} reads all, Esc dismisses")
        }
    };
    let text = safe::line(&entry.text);
    // The message matters more than the jobs; both stay where there is room.
    let beside = left.width() + safe::width(&text) + safe::width(&more) + mark.len() + 4 <= usize::from(area.width);
    let room = usize::from(area.width).saturating_sub(2 + mark.len() + safe::width(&more));
    let line = Line::from(vec![
        Span::raw(" "),
        Span::styled(format!("{mark}{}", safe::cut(&text, room, theme.ascii)), theme.style(role)),
        Span::styled(more, theme.style(Role::Muted)),
        Span::raw(" "),
    ]);
    if left.width() > 0 && beside {
        put(buffer, area, left);
        put_right(buffer, area, line);
    } else {
        put(buffer, area, line);
    }
}

/// What is on its way, and how far.
fn opening(coming: &Coming, state: &State, theme: &Theme) -> Line<'static> {
    let what = coming.layer.map_or_else(|| "opening".to_owned(), |layer| format!("layer {layer}"));
    let progress = coming.progress.as_ref().map(|progress| {
        let share = match progress.total {
            0 => String::new(),
            total => format!(" {:.0} %", 100.0 * (progress.done as f64 / total as f64).min(1.0)),
        };
        format!(": {}{share}", safe::line(&progress.what))
    });
    Line::from(vec![
        Span::styled(format!(" {} ", spinner(state.spin(), theme.ascii)), theme.style(Role::Accent)),
        Span::raw(format!("{what}{}", progress.unwrap_or_default())),
        Span::styled("   Esc stays here", theme.style(Role::Muted)),
    ])
}

fn idle(state: &State, theme: &Theme) -> Line<'static> {
    let edits = &state.study.edits.list;
    if !edits.is_empty() {
        let list: Vec<String> = edits.iter().map(|edit| format!("#{edit}")).collect();
        let key = state.keymap.key_of(Action::Predictions, &[crate::tui::keys::action::Context::Explore]);
        return Line::from(vec![
            Span::raw(format!(" edits in force: {}   ", list.join(", "))),
            Span::styled(key, theme.style(Role::Key)),
            Span::styled(" shows what the models then say", theme.style(Role::Muted)),
        ]);
    }
    let key = state.keymap.key_of(Action::Measure, &[crate::tui::keys::action::Context::Global]);
    Line::from(vec![
        Span::raw(" "),
        Span::styled(key, theme.style(Role::Key)),
        Span::styled(" measures all variants on held-out text, in the background", theme.style(Role::Muted)),
    ])
}
