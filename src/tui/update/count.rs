//! A count before a move: `10j` goes down ten rows. A digit that is a key of its own waits a moment for what follows.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent};

use super::{act, effect::Effect};
use crate::tui::{
    keys::{action::Action, keymap::Key},
    state::{Count, MOST, Overlay, State},
};

/// How long a digit waits.
const WAIT: Duration = Duration::from_millis(300);

/// Take a digit of a count; other keys are left alone.
pub fn digit(state: &mut State, event: &KeyEvent) -> bool {
    let KeyCode::Char(c) = event.code else { return false };
    let (Some(digit), true) = (c.to_digit(10), event.modifiers.is_empty()) else { return false };
    if state.typing() || !matches!(state.overlay, None | Some(Overlay::Help { .. })) {
        return false;
    }
    let own = state.keymap.action(state.contexts(), Key::from(*event)).map(|_| (*event, state.now + WAIT));
    match &mut state.count {
        Some(count) => *count = Count { number: (count.number * 10 + digit as usize).min(MOST), alone: None },
        // No count begins with a zero.
        None if digit == 0 => return false,
        none => *none = Some(Count { number: digit as usize, alone: own }),
    }
    true
}

/// Whether an action is a move that can be repeated.
pub fn repeats(action: Action) -> bool {
    use Action as A;
    matches!(
        action,
        A::TokenLeft
            | A::TokenRight
            | A::LatentUp
            | A::LatentDown
            | A::LatentPageUp
            | A::LatentPageDown
            | A::PreviousLatent
            | A::NextLatent
            | A::RatioDown
            | A::RatioUp
            | A::RatioFineDown
            | A::RatioFineUp
            | A::ScrollUp
            | A::ScrollDown
            | A::PageUp
            | A::PageDown
            | A::LastLatent
            | A::AtlasLeft
            | A::AtlasRight
    )
}

/// Do a move as often as was counted; with a count, the way to the last row goes to that row.
pub fn repeat(state: &mut State, action: Action, count: Count, effects: &mut Vec<Effect>) {
    if action == Action::LastLatent {
        return act::move_latent(state, |_, _| count.number - 1);
    }
    for _ in 0..count.number {
        act::act(state, action, effects);
    }
}

/// Nothing followed that is to be repeated: a digit that is a key of its own does what it does.
pub fn alone(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(Count { alone: Some((event, _)), .. }) = state.count.take() else { return };
    if let Some(action) = state.keymap.clone().action(state.contexts(), Key::from(event)) {
        act::act(state, action, effects);
    }
}
