//! The line above the footer: jobs to the left, the latest message to the right.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Coming, Level, Screen, State},
        theme::{Role, Theme},
        view::{edits, jobs},
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
        let explored = state.screen == Screen::Explore && state.has_session();
        let room = usize::from(area.width).saturating_sub(left.width() + 2);
        if left.width() == 0 && explored {
            return put(buffer, area, idle(room, state, theme));
        }
        if explored && !state.edits.list.is_empty() {
            // What figures are of must not go for a job that is long done.
            let edits = in_force(room, state, theme);
            if edits.width() > room {
                return put(buffer, area, in_force(usize::from(area.width), state, theme));
            }
            put_right(buffer, area, edits + Span::raw(" "));
        }
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
            let dismisses = if has_global_keys(state) { ", Esc dismisses" } else { "" };
            format!("  {} reads all{dismisses}", log_key(state))
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

/// Whether letters are keys of every screen, and not written into a text or a form's.
fn has_global_keys(state: &State) -> bool {
    state.contexts().contains(&Context::Global)
}

/// What leads to all messages from here.
fn log_key(state: &State) -> String {
    let key = state.keymap.key_of(Action::Log, &[Context::Global]);
    if has_global_keys(state) { key } else { format!("Esc, then {key}") }
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

/// The edits, and the key that shows what they do where there is room for it.
fn in_force(room: usize, state: &State, theme: &Theme) -> Line<'static> {
    let key = state.keymap.key_of(Action::Predictions, &[Context::Explore]);
    let shows = " shows what the models then say";
    let edits = edits::in_force(&state.edits, room.saturating_sub(18));
    let line = Line::raw(format!(" edits in force: {edits}"));
    match line.width() + 3 + key.len() + shows.len() <= room {
        true => {
            line + Span::raw("   ")
                + Span::styled(key, theme.style(Role::Key))
                + Span::styled(shows, theme.style(Role::Muted))
        }
        false => line,
    }
}

fn idle(room: usize, state: &State, theme: &Theme) -> Line<'static> {
    if !state.edits.list.is_empty() {
        return in_force(room, state, theme);
    }
    if state.follow.refusal.is_some() && !state.prompt.is_blank() {
        return Line::from(vec![
            Span::styled(" the prompt could not be read: ", theme.style(Role::Warning)),
            Span::styled(log_key(state), theme.style(Role::Key)),
            Span::styled(" says why", theme.style(Role::Muted)),
        ]);
    }
    let key = state.keymap.key_of(Action::Measure, &[Context::Global]);
    Line::from(vec![
        Span::raw(" "),
        Span::styled(key, theme.style(Role::Key)),
        Span::styled(" measures all variants on held-out text, in the background", theme.style(Role::Muted)),
    ])
}
