//! Two prompts: the second is a copy that stays while the first is changed.

use std::sync::Arc;

use prunelens_core::compare::Comparison;

use super::typing;
use crate::tui::state::{Level, Pair, Panel, Screen, Shown, State};

/// Keep a copy of the prompt beside it and go on writing, or leave the second prompt.
pub fn split(state: &mut State) {
    if state.pair.take().is_some() {
        state.fill(false);
        return;
    }
    typing::submit(state);
    let target = state.target();
    if target.prompt.is_empty() {
        return state.log.push(state.now, Level::Warning, "there is no prompt to keep beside: type one first");
    }
    let mut pair = Pair::new(target.prompt.clone());
    // What is known of it need not be asked for again.
    if let Some(shown) = state.shown.clone().filter(|shown| shown.of == target) {
        pair.asked = Some((shown.generation, target));
        pair.align(&shown.comparison.tokens);
        pair.shown = Some(shown);
    }
    state.pair = Some(pair);
    state.screen = Screen::Explore;
    state.focus = Panel::Prompt;
    aligned(state);
}

/// The second prompt becomes the first, and the first the second.
pub fn swap(state: &mut State) {
    typing::submit(state);
    let (target, shown) = (state.target(), state.shown.clone());
    let Some(pair) = &mut state.pair else { return };
    let (text, token) = (pair.text.clone(), pair.beside(state.token));
    pair.text = target.prompt.clone();
    let second = std::mem::replace(&mut pair.shown, shown.filter(|shown| shown.of.prompt == target.prompt));
    pair.asked = pair.shown.as_ref().map(|shown| (shown.generation, shown.of.clone()));
    pair.waiting = false;
    state.prompt.set(&text);
    typing::submit(state);
    if let Some(second) = second {
        state.token = token.unwrap_or(second.comparison.tokens.len().saturating_sub(1));
        state.shown = Some(Shown { complete: false, ..second });
    }
    aligned(state);
}

/// Its latents have come.
pub fn arrived(state: &mut State, generation: u64, comparison: Arc<Comparison>) {
    let Some(pair) = &mut state.pair else { return };
    if pair.asked.as_ref().is_none_or(|(asked, _)| *asked != generation) {
        return;
    }
    pair.waiting = false;
    // Rows that were put in order without it have an order of one prompt.
    let first = pair.shown.is_none();
    pair.shown = Some(Shown::new(generation, comparison, true, pair.shown.take()));
    align(state);
    state.fill(!first);
}

/// Tokens beside each other anew, and the table with them.
pub fn aligned(state: &mut State) {
    align(state);
    state.fill(true);
}

fn align(state: &mut State) {
    if let (Some(pair), Some(shown)) = (&mut state.pair, &state.shown) {
        pair.align(&shown.comparison.tokens);
    }
}
