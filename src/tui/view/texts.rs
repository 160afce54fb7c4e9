//! Texts around the token on which a latent fires.

use prunelens_core::compare::Example;
use ratatui::{
    style::Modifier,
    text::{Line, Span},
};

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
