//! The latent's screen, and the names of latents.

use prunelens_core::compare::Variant;

use super::{act::move_latent, atlas, effect::Effect};
use crate::tui::{
    keys::action::{Action, Context},
    state::{Level, Overlay, Screen, State},
};

/// The selected latent in full.
pub fn open(state: &mut State) {
    if state.latent.is_some() {
        state.latent_view.scroll = 0;
        state.latent_view.from_atlas = state.screen == Screen::Atlas;
        // What the loss owes to it and its neighbours, where an atlas has measured that.
        if state.atlas.atlas.is_none() && state.atlas.wanted.is_none() {
            state.atlas.wanted = state.newest_atlas();
        }
        state.open(Screen::Latent);
    }
}

/// The latent above or below in the table, or in the list of the atlas.
pub fn walk(state: &mut State, by: isize) {
    state.latent_view.scroll = 0;
    if state.latent_view.from_atlas {
        return atlas::walk(state, by);
    }
    move_latent(state, |at, _| at.saturating_add_signed(by));
}

/// The next variant's texts beside the original's; with another latent pinned, those of both in the next variant.
pub fn beside(state: &mut State) {
    let pair = state.latent_view.pinned_beside(state.latent).is_some();
    let variants = state.info.as_ref().map_or(&Variant::ALL[..], |info| &info.variants);
    let all: Vec<Variant> = variants.iter().copied().filter(|v| pair || *v != Variant::Original).collect();
    let shown = if pair { &mut state.latent_view.both } else { &mut state.latent_view.beside };
    let at = all.iter().position(|v| v == shown).map_or(0, |at| at + 1);
    if let Some(next) = all.get(at % all.len().max(1)) {
        *shown = *next;
    }
}

pub fn pin(state: &mut State) {
    let before = state.latent_view.pinned.as_ref().map(|page| page.latent);
    state.latent_view.pinned = match &state.latent_view.page {
        Some(page) if Some(page.latent) == state.latent && before != state.latent => {
            let key = state.keymap.key_of(Action::TextsBeside, &[Context::Latent]);
            let text = format!(
                "#{} stays beside: go to another latent, or find one; {key} then shows both in the next variant",
                page.latent
            );
            state.log.push(state.now, Level::Info, text);
            state.latent_view.both = Variant::Original;
            Some(page.clone())
        }
        _ => {
            if let Some(before) = before {
                state.log.push(state.now, Level::Info, format!("#{before} is not pinned any more"));
            }
            None
        }
    };
}

pub fn predictions(state: &mut State) {
    if state.shown.is_some() {
        state.open(Screen::Predictions);
    } else {
        let text = format!("there is nothing to predict from yet: {}", state.unread());
        state.log.push(state.now, Level::Warning, text);
    }
}

/// Write a name for the selected latent; what it has is there to be changed.
pub fn name(state: &mut State) {
    if let Some(latent) = state.latent {
        let name = state.names.get(&latent).cloned().unwrap_or_default();
        state.overlay = Some(Overlay::Name { latent, name });
    }
}

/// A name was written; an empty one takes it back.
pub fn named(state: &mut State, latent: u32, name: &str, effects: &mut Vec<Effect>) {
    match name.trim() {
        "" => drop(state.names.remove(&latent)),
        name => drop(state.names.insert(latent, name.to_owned())),
    }
    effects.push(Effect::KeepName(latent));
}
