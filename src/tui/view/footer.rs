//! The last line: keys that do something here, from the table of actions.

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
        widgets::{put, put_right},
    },
};

/// Words that go first, wherever their rows are in the table.
const FIRST: [&str; 3] = ["help", "compare", "panel"];
/// Of the keys that turn to another view of a run.
const VIEW: &str = "view";
/// Of the keys that move from panel to panel.
const PANEL: &str = "panel";
/// Words at the right end.
const LAST: &str = "quit";

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let mut hints = state.keymap.hints(state.contexts());
    // Keys that turn to another view are of no use where there is one.
    if state.views().len() < 2 {
        hints.retain(|(_, words)| *words != VIEW);
    }
    // Explore and the atlas alone have panels to go through.
    if !matches!(state.screen, Screen::Explore | Screen::Atlas) && state.overlay.is_none() {
        hints.retain(|(_, words)| *words != PANEL);
    }
    hints.sort_by_key(|(_, words)| FIRST.iter().position(|f| f == words).unwrap_or(FIRST.len()));
    let quit = hints.iter().position(|(_, words)| *words == LAST).map(|at| hints.remove(at));
    let entry = |(keys, words): &(String, &'static str)| {
        let keys = if theme.ascii { ascii_arrows(keys) } else { keys.clone() };
        [Span::styled(keys, theme.style(Role::Key)), Span::styled(format!(" {words}"), theme.style(Role::Muted))]
    };
    let right =
        quit.as_ref().map(|q| Line::from_iter(entry(q).into_iter().chain([Span::raw(" ")]))).unwrap_or_default();
    let room = usize::from(area.width).saturating_sub(right.width() + 1);
    let mut line = vec![Span::raw(" ")];
    let mut used = 1;
    for hint in &hints {
        let spans = entry(hint);
        let width: usize = spans.iter().map(|s| safe::width(&s.content)).sum();
        // A shorter one further on may still fit.
        if used + width > room {
            continue;
        }
        used += width + 3;
        line.extend(spans);
        line.push(Span::raw("   "));
    }
    put(buffer, area, Line::from(line));
    put_right(buffer, area, right);
}

/// Names of arrow keys where arrows cannot be drawn.
pub fn ascii_arrows(keys: &str) -> String {
    let mut names = Vec::new();
    let mut rest = String::new();
    for c in keys.chars() {
        match c {
            '←' => names.push("Left"),
            '→' => names.push("Right"),
            '↑' => names.push("Up"),
            '↓' => names.push("Down"),
            c => rest.push(c),
        }
    }
    if names.is_empty() { keys.to_owned() } else { format!("{rest}{}", names.join("/")) }
}
