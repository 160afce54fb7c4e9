//! The strip of layers: asked for while it is on screen, selected in, gone from.

use std::sync::Arc;

use prunelens_core::compare::LayerFigures;

use super::{effect::Effect, open};
use crate::{
    engine::{Query, Request},
    tui::state::{Screen, State},
};

pub fn open(state: &mut State) {
    if super::ready(state) {
        state.strip.selected = None;
        state.open(Screen::Layers);
    }
}

/// The prompt at every layer, at the live setting; turned further, it is asked for anew.
pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    let target = state.target();
    if state.screen != Screen::Layers || target.prompt.is_empty() || state.follow.deadline.is_some() {
        // Nobody looks: what is not read yet need not be.
        if std::mem::take(&mut state.strip.waiting) {
            state.strip.asked = None;
            let generation = state.follow.advance();
            effects.push(Effect::Request(Request { generation, query: Query::Layers { prompt: None } }));
        }
        return;
    }
    let before = state.strip.asked.as_ref().map(|(_, asked)| asked);
    // The prompt itself is answered first.
    if before == Some(&target) || state.follow.waiting {
        return;
    }
    if before.is_none_or(|before| before.prompt != target.prompt) {
        state.strip.rows.clear();
    }
    let generation = state.follow.advance();
    let prompt = Some((target.prompt.to_string(), target.setting));
    effects.push(Effect::Request(Request { generation, query: Query::Layers { prompt } }));
    (state.strip.asked, state.strip.waiting) = (Some((generation, target)), true);
}

pub fn arrived(state: &mut State, generation: u64, layer: usize, figures: Result<Arc<LayerFigures>, String>) {
    if state.strip.asked.as_ref().is_some_and(|(asked, _)| *asked == generation) {
        state.strip.rows.insert(layer, figures);
    }
}

pub fn ended(state: &mut State, generation: u64) {
    if state.strip.asked.as_ref().is_some_and(|(asked, _)| *asked == generation) {
        state.strip.waiting = false;
    }
}

/// Select another layer.
pub fn walk(state: &mut State, by: isize) {
    let layers = state.strip_layers();
    let at = layers.iter().position(|layer| Some(*layer) == state.strip_selected()).unwrap_or(0);
    let to = at.saturating_add_signed(by).min(layers.len().saturating_sub(1));
    state.strip.selected = layers.get(to).copied();
}

/// Go to the selected layer, and look at the prompt there.
pub fn enter(state: &mut State, effects: &mut Vec<Effect>) {
    if let Some(layer) = state.strip_selected() {
        open::go(state, layer, effects);
        state.open(Screen::Explore);
    }
}
