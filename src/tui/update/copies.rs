//! The table of compressed copies: opened, and one of them gone to.

use super::{effect::Effect, open};
use crate::tui::state::{Level, Overlay, State};

/// The table, if there are several.
pub fn ask(state: &mut State) {
    if !super::ready(state) {
        return;
    }
    if state.copies_here().is_empty() {
        let text = "this session has one compressed copy; --compress given more than once opens several, :open --compress another";
        return state.log.push(state.now, Level::Info, text);
    }
    state.overlay = Some(Overlay::Copies { selected: state.copy_here() });
}

/// Go to a copy; prompt, token and knob stay.
pub fn go(state: &mut State, selected: usize, effects: &mut Vec<Effect>) {
    let Some(copy) = state.copies_here().get(selected).cloned() else { return };
    if copy == state.spec.compress {
        return open::stop(state, effects);
    }
    let (spec, settings) = (state.spec.at_copy(&copy), state.settings.clone());
    open::begin(state, spec, settings, effects);
}
