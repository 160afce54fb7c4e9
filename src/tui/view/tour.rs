//! The box of the guided tour: what is seen, and which key comes next.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Clear, Widget},
};

use crate::tui::{
    keys::action::{Action, Context},
    state::{STEPS, Screen, State},
    theme::{Role, Theme},
    view::{footer::ascii_arrows, panels},
    widgets::{self, line_at, put, skip, wrap},
};

/// Cells of the box, at most.
const WIDTH: u16 = 66;
/// Lines of a screen whose table has rows to spare.
const HIGH: u16 = 34;

/// At the lower left, over what the step does not speak of.
pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let Some(tour) = state.tour.filter(|tour| !tour.hidden) else { return };
    let Some(step) = STEPS.get(tour.step) else { return };
    let width = WIDTH.min(area.width);
    let room = usize::from(width).saturating_sub(4);
    let chain = Context::ALL;
    let name = |action| {
        let key = state.keymap.key_of(action, &chain);
        if theme.ascii { ascii_arrows(&key) } else { key }
    };
    // Taken up again there may be no prompt to do it on.
    let (key, then) = match state.shown.is_none() && tour.step > 0 {
        true => (Action::Panel(1), "takes the first example again: this step needs a prompt."),
        false => (step.key, step.then),
    };
    let key = name(key);
    let seen = wrap(step.seen, room);
    let then = wrap(&format!("{key} {then}"), room);
    let height = (seen.len() + then.len()) as u16 + 2;
    let below = panels::below(area.height);
    // Above slider and figures where the table is high enough to spare the rows.
    let lifted = step.of_below && state.screen == Screen::Explore && area.height >= HIGH;
    let bottom = area.bottom().saturating_sub(2 + if lifted { below } else { 0 });
    let at = Rect { x: area.x, y: bottom.saturating_sub(height), width, height }.intersection(area);
    Clear.render(at, buffer);
    let title = format!("tour {} of {}: {}", tour.step + 1, STEPS.len(), step.title);
    let last = tour.step + 1 == STEPS.len();
    let foot = format!("{} {}", name(Action::TourNext), if last { "ends it" } else { "skips the step" });
    let end = format!("{} puts it away", name(Action::Tour));
    let panel = widgets::Panel::new(title, true).foot(foot, end);
    let inside = skip(panel.render(at, buffer, theme), 1);
    for (row, text) in seen.iter().enumerate() {
        put(buffer, line_at(inside, row as u16), text.as_str());
    }
    for (row, text) in then.into_iter().enumerate() {
        let line = line_at(inside, (seen.len() + row) as u16);
        let rest = text.strip_prefix(&key).filter(|_| row == 0).map(str::to_owned);
        let line_text = match rest {
            Some(rest) => Line::from(vec![
                Span::styled(key.clone(), theme.style(Role::Key)),
                Span::styled(rest, theme.style(Role::Accent)),
            ]),
            None => Line::styled(text, theme.style(Role::Accent)),
        };
        put(buffer, line, line_text);
    }
}
