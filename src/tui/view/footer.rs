//! The last line: keys that do something here, from the table of actions.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::{action::Context, keymap::Hint},
        state::{Panel, Screen, State},
        theme::{Role, Theme},
        widgets::{put, put_right},
    },
};

/// Words at the right end, wherever their rows are in the table.
const LAST: [&str; 2] = ["help", "quit"];

/// Words that go first: those of the panel that has the focus.
fn first(state: &State) -> &'static [&'static str] {
    match state.screen {
        _ if state.overlay.is_some() => return &[],
        Screen::Explore => {}
        Screen::Study => return &["session", "cell", "its figures", "explore it", "curve", "back"],
        _ => return &[],
    }
    match state.focus {
        Panel::Prompt => &["compare", "panel"],
        Panel::Tokens => &["token", "panel"],
        Panel::Latents => &["latent", "latent in full", "panel"],
        Panel::Detail => &["scroll", "latent in full", "panel"],
        Panel::Ratio => &["slide", "ratio", "criterion", "panel"],
        Panel::Figures => &["panel", "measure"],
    }
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let chain = state.contexts();
    let mut hints = state.keymap.hints(chain, |action| state.offers(action));
    let first = first(state);
    // On the first screen the knob comes before all that can be looked at; on others, what they are there for.
    let nearest = |context: Context| match state.screen {
        Screen::Explore => None,
        _ => chain.iter().position(|near| *near == context),
    };
    hints.sort_by_key(|hint| {
        (first.iter().position(|f| *f == hint.words).unwrap_or(first.len()), nearest(hint.context))
    });
    let (last, hints): (Vec<_>, Vec<_>) = hints.into_iter().partition(|hint| LAST.contains(&hint.words));
    let entry = |Hint { keys, words, .. }: &Hint| {
        let keys = if theme.ascii { ascii_arrows(keys) } else { keys.clone() };
        [Span::styled(keys, theme.style(Role::Key)), Span::styled(format!(" {words}"), theme.style(Role::Muted))]
    };
    let right: Line = last.iter().flat_map(|hint| [Span::raw("  ")].into_iter().chain(entry(hint))).collect();
    let right = if last.is_empty() { right } else { right + Span::raw(" ") };
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
