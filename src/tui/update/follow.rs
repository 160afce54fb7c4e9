//! Asking the engine for what the screen lacks: never a backlog, always ending with the value at rest.

use crate::{
    engine::Request,
    tui::{
        state::{LatentKey, Overlay, Screen, State},
        update::{atlas, effect::Effect},
    },
};

pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    ask_comparison(state, effects);
    ask_latent(state, effects);
    ask_page(state, effects);
    ask_predictions(state, effects);
    ask_hits(state, effects);
    atlas::ask(state, effects);
    ask_estimate(state, effects);
}

/// The corpus page of the latent on its screen.
fn ask_page(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(latent) = state.latent.filter(|_| state.screen == Screen::Latent) else { return };
    if state.study.asked.is_some_and(|(_, asked)| asked == latent) {
        return;
    }
    let generation = state.follow.advance();
    effects.push(Effect::Request(Request::Study { generation, latent }));
    state.study.asked = Some((generation, latent));
}

/// What is said after the selected token, once the comparison that it is of is whole.
fn ask_predictions(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(key) = state.wants_predictions() else { return };
    if state.study.predicting.as_ref().is_some_and(|(_, asked)| *asked == key) {
        return;
    }
    let generation = state.follow.advance();
    let (token, edits) = (key.token, key.edits.clone());
    effects.push(Effect::Request(Request::Predict { generation, token, edits }));
    (state.study.predicting, state.study.waiting) = (Some((generation, key)), true);
}

/// Latents that have to do with the word being looked for; a slower hand asks once, a faster one is overtaken.
fn ask_hits(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(Overlay::Find(find)) = &mut state.overlay else { return };
    let Some(word) = find.word().map(str::to_owned) else { return };
    if find.asked.as_ref().is_some_and(|(_, asked)| *asked == word) {
        return;
    }
    let generation = state.follow.advance();
    effects.push(Effect::Request(Request::Find { generation, word: word.clone() }));
    (find.asked, find.waiting) = (Some((generation, word)), true);
}

/// What the job in the form will take: asked again whenever the form says another job.
fn ask_estimate(state: &mut State, effects: &mut Vec<Effect>) {
    let (Some(info), Some(Overlay::Form(form))) = (&state.info, &mut state.overlay) else { return };
    let Some(job) = info.families.get(form.family).and_then(|family| form.spec(family)) else { return };
    if form.asked.as_ref().is_some_and(|(_, asked)| *asked == job) {
        return;
    }
    let generation = state.follow.advance();
    effects.push(Effect::Request(Request::Estimate { generation, job: job.clone() }));
    (form.asked, form.waiting) = (Some((generation, job)), true);
}

/// A new prompt goes out at once and makes the running comparison stale; a new ratio waits until the previous answer
/// has begun to arrive, so that every frame is followed by the newest value.
fn ask_comparison(state: &mut State, effects: &mut Vec<Effect>) {
    let target = state.target();
    let follow = &mut state.follow;
    if target.prompt.is_empty() || follow.deadline.is_some() {
        return;
    }
    let before = follow.asked.as_ref().map(|(_, t)| t);
    if before == Some(&target) {
        return;
    }
    let same_prompt = before.is_some_and(|b| b.prompt == target.prompt) && !follow.failed;
    if same_prompt && follow.waiting {
        return;
    }
    let generation = follow.advance();
    let (ratio, criterion) = (target.ratio, target.criterion);
    effects.push(Effect::Request(if same_prompt {
        Request::SetRatio { generation, ratio, criterion }
    } else {
        // The engine reads another prompt now: what was asked about the old one will not be answered.
        follow.latent = None;
        follow.latent_waiting = false;
        Request::Compare { generation, text: target.prompt.to_string(), ratio, criterion }
    }));
    follow.waiting = true;
    follow.failed = false;
    follow.asked = Some((generation, target));
}

fn ask_latent(state: &mut State, effects: &mut Vec<Effect>) {
    let (Some(latent), Some(shown)) = (state.latent, &state.shown) else { return };
    let target = state.target();
    // The engine answers for the prompt and criterion it holds.
    let held = shown.of.prompt == target.prompt && shown.of.criterion == target.criterion;
    if !held || state.follow.latent_waiting {
        return;
    }
    let key = LatentKey { prompt: target.prompt, criterion: state.criterion, latent, token: state.token };
    if state.follow.latent.as_ref().is_some_and(|(_, k)| *k == key) {
        return;
    }
    let generation = state.follow.advance();
    let (token, criterion) = (state.token, state.criterion);
    effects.push(Effect::Request(Request::ShowLatent { generation, latent, token, criterion }));
    state.follow.latent = Some((generation, key));
    state.follow.latent_waiting = true;
}
