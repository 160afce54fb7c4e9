//! Going on where someone was: the last session, or a view from a file.

use std::sync::Arc;

use prunelens_core::sae::Dial;

use super::{atlas, copies, effect::Effect, open, typing};
use crate::{
    engine::Command,
    safe,
    tui::state::{Choice, Knobs, Level, Pair, Panel, SavedView, Screen, State},
};

/// Take up what was left last time.
pub fn take_up(state: &mut State, effects: &mut Vec<Effect>) {
    if state.coming.is_some() || state.opening.is_some() {
        let text = "another session is on its way: it can be taken up when that is here";
        return state.log.push(state.now, Level::Info, text);
    }
    match state.offered.take() {
        Some(view) if super::ready(state) => go(state, view, effects),
        Some(view) => state.offered = Some(view),
        None => state.log.push(state.now, Level::Warning, "there is no earlier session of these models to take up"),
    }
}

/// To the view's copy and layer first, where it has others than those on screen.
pub fn go(state: &mut State, view: Arc<SavedView>, effects: &mut Vec<Effect>) {
    let copy = view.copy().and_then(|copy| state.copies_here().iter().position(|here| *here == copy));
    let layer = view.layer.filter(|layer| state.layers_here().contains(layer));
    match (copy, layer) {
        (Some(copy), _) if state.copy_here() != copy => copies::go(state, copy, effects),
        (_, Some(layer)) if state.layer_wanted() != Some(layer) => open::go(state, layer, effects),
        _ => return begin(state, view, effects),
    }
    state.opening = Some(view);
}

/// Set what does not wait for an answer; the rest follows when the prompt has been compared. An SAE that was trained there joins
/// the session first.
pub fn begin(state: &mut State, view: Arc<SavedView>, effects: &mut Vec<Effect>) {
    let joined = state.info.as_ref().and_then(|info| info.joined.as_ref());
    match view.trained_sae.clone().filter(|folder| joined != Some(folder)) {
        Some(folder) => {
            state.opening = Some(view);
            effects.push(Effect::Command(Command::Join(folder)));
        }
        None => begin_joined(state, view),
    }
}

/// The same once that is so.
pub fn begin_joined(state: &mut State, view: Arc<SavedView>) {
    let Some(info) = state.info.clone() else { return };
    let differing = view.differing(&info.digests);
    if !differing.is_empty() {
        let text =
            format!("the view was saved on other weights: {} differ, so figures will, too", differing.join(", "));
        state.log.push(state.now, Level::Warning, text);
    }
    let unknown = view.unknown();
    if !unknown.is_empty() {
        let text = format!("the view has what is not known here: {}", safe::line(&unknown.join(", ")));
        state.log.push(state.now, Level::Warning, text);
    }
    state.prompt.set(&safe::input(&view.prompt));
    let second = view.second_prompt.as_deref().map(safe::input).filter(|second| !second.trim().is_empty());
    state.pair = second.map(|second| Pair::new(second.into()));
    let criterion = view.criterion().filter(|criterion| info.criteria.contains(criterion)).unwrap_or_else(|| {
        let text = format!("the view's criterion {:?} is none of this session's", safe::line(&view.criterion));
        state.log.push(state.now, Level::Warning, text);
        state.knobs.criterion()
    });
    let (dial, now) = (view.knob.parse::<Dial>(), state.setting().at);
    match dial.and_then(|dial| dial.setting(now, criterion, info.d_in)) {
        Ok(setting) => state.knobs = Knobs::new(setting, criterion, info.d_in),
        Err(e) => state.log.push(state.now, Level::Warning, format!("the view's {}", safe::line(&e.to_string()))),
    }
    let (edits, refused) = view.edits(info.d_sae);
    if !refused.is_empty() {
        let text = format!("edits of the view that cannot be made here: {}", safe::line(&refused.join(", ")));
        state.log.push(state.now, Level::Warning, text);
    }
    state.edits = edits;
    state.latent_view.beside = view.beside().unwrap_or(state.latent_view.beside);
    state.latent_view.both = view.pinned_on();
    state.shade = view.shade();
    (state.table.sort, state.table.whole) = (view.sort(), view.whole_prompt);
    state.focus = Panel::Latents;
    state.restoring = Some(view);
    typing::submit(state);
}

/// The SAE of the view cannot be had: the rest of it can.
pub fn without_trained(state: &mut State, why: &str, effects: &mut Vec<Effect>) {
    let text = format!(
        "the view's trained SAE is not here, and the figures of `trained` are of another, or there are none: {}",
        safe::line(why)
    );
    state.log.push(state.now, Level::Warning, text);
    if let Some(view) = state.opening.take() {
        begin(state, Arc::new(SavedView { trained_sae: None, ..SavedView::clone(&view) }), effects);
    }
}

/// The prompt has been compared: go to the view's token, latent and screen.
pub fn compared(state: &mut State) {
    let Some(shown) = &state.shown else { return };
    let Some(view) = state.restoring.take_if(|view| *safe::input(&view.prompt) == *shown.of.prompt) else { return };
    let tokens = shown.comparison.tokens.len();
    let last = tokens.saturating_sub(1);
    state.token = view.token.min(last);
    state.at_end = state.token == last;
    if view.token > last {
        let text = format!("the view's token {} is not there: the prompt has {tokens} tokens", view.token);
        state.log.push(state.now, Level::Warning, text);
    }
    let latent = latent_here(state, "latent", view.latent);
    if latent.is_some() {
        (state.latent, state.choice) = (latent, Choice::Found);
    }
    state.latent_view.pinning = latent_here(state, "pinned latent", view.pinned);
    state.latent_view.from_atlas = false;
    state.fill(false);
    match view.screen() {
        Screen::Atlas => {
            state.atlas.saved = view.atlas.clone();
            atlas::open(state);
        }
        screen => state.open(screen),
    }
}

/// A latent of the view, if the SAE has it; else it is said.
fn latent_here(state: &mut State, what: &str, latent: Option<u32>) -> Option<u32> {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let here = latent.filter(|latent| (*latent as usize) < d_sae);
    if let (Some(latent), None) = (latent, here) {
        let text = format!("the view's {what} #{latent} is not there: latents go to #{}", d_sae.saturating_sub(1));
        state.log.push(state.now, Level::Warning, text);
    }
    here
}
