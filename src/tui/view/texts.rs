//! Texts around the token on which a latent fires.

use prunelens_core::compare::Example;
use ratatui::{
    style::Modifier,
    text::{Line, Span},
};

use unicode_segmentation::UnicodeSegmentation;

use crate::{
    safe,
    tui::{
        theme::{Role, Theme},
        widgets::format,
    },
};

/// One text, its token in the middle third and shaded by its share of the strongest. What is of something else is dimmed.
pub fn line(example: &Example, most: f32, width: usize, fresh: bool, theme: &Theme) -> Line<'static> {
    let ascii = theme.ascii;
    let style = |role: Role| theme.style(if fresh { role } else { Role::Old });
    let value = format!("{:>5}  ", format::activation(example.activation));
    let token = safe::cut(&safe::piece(&example.token, ascii), width / 3, ascii);
    let room = width.saturating_sub(value.len() + safe::width(&token));
    let before = safe::end(&safe::excerpt(&example.before, ascii), room / 2);
    let after = safe::cut(&safe::excerpt(&example.after, ascii), room.saturating_sub(safe::width(&before)), ascii);
    let share = if most > 0.0 { example.activation / most } else { 0.0 };
    let shade = theme.heat.at(share).filter(|_| fresh);
    let shade = shade.unwrap_or(style(Role::Text).add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    Line::from(vec![
        Span::styled(value, style(Role::Muted)),
        Span::styled(before, style(Role::Muted)),
        Span::styled(token, shade),
        Span::styled(after, style(Role::Muted)),
    ])
}

/// The same with nothing left out, over as many lines as it takes.
pub fn whole(example: &Example, most: f32, width: usize, fresh: bool, theme: &Theme) -> Vec<Line<'static>> {
    let ascii = theme.ascii;
    let style = |role: Role| theme.style(if fresh { role } else { Role::Old });
    let value = format!("{:>5}  ", format::activation(example.activation));
    let share = if most > 0.0 { example.activation / most } else { 0.0 };
    let shade = theme.heat.at(share).filter(|_| fresh);
    let shade = shade.unwrap_or(style(Role::Text).add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let pieces = [
        (safe::excerpt(&example.before, ascii), style(Role::Muted)),
        (safe::piece(&example.token, ascii), shade),
        (safe::excerpt(&example.after, ascii), style(Role::Muted)),
    ];
    let room = width.saturating_sub(value.len()).max(1);
    let mut lines = vec![vec![Span::styled(value.clone(), style(Role::Muted))]];
    let mut used = 0;
    for (at, (text, style)) in pieces.iter().enumerate() {
        // The token is one word, its space included.
        let words: Vec<&str> = if at == 1 { vec![text.as_str()] } else { text.split_word_bounds().collect() };
        for word in words {
            // Words stay whole where they fit into a line at all.
            let whole = safe::width(word) <= room;
            let parts: Vec<&str> = if whole { vec![word] } else { word.graphemes(true).collect() };
            for part in parts {
                let cells = safe::width(part);
                if used + cells > room {
                    lines.push(vec![Span::raw(" ".repeat(value.len()))]);
                    used = 0;
                    if part == " " {
                        continue;
                    }
                }
                used += cells;
                if let Some(line) = lines.last_mut() {
                    line.push(Span::styled(part.to_owned(), *style));
                }
            }
        }
    }
    lines.into_iter().map(Line::from).collect()
}
