//! Asking the engine for what the screen lacks: never a backlog, always ending with the value at rest.

use std::time::Duration;

use crate::{
    engine::{Query, Request},
    tui::{
        state::{LatentKey, Overlay, PageKey, Screen, State},
        update::{atlas, effect::Effect, strip},
    },
};

pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    ask_comparison(state, effects);
    ask_beside(state, effects);
    ask_latent(state, effects);
    ask_page(state, effects);
    ask_predictions(state, effects);
    ask_hits(state, effects);
    atlas::ask(state, effects);
    strip::ask(state, effects);
    ask_estimate(state, effects);
}

/// How long the slider rests before the corpus is read again at its ratio.
const REST: Duration = Duration::from_secs(1);

/// The corpus page of the latent on its screen: at once where the latent is another, at another ratio once the slider rests.
fn ask_page(state: &mut State, effects: &mut Vec<Effect>) {
    // One that is to stand beside the others comes first.
    let wanted = state.latent_view.pinning.or(state.latent);
    let Some(latent) = wanted.filter(|_| state.screen == Screen::Latent) else {
        state.latent_view.resting = None;
        return;
    };
    let key = PageKey { latent, setting: state.setting() };
    let view = &mut state.latent_view;
    match view.asked {
        Some((_, asked)) if asked == key => return view.resting = None,
        Some((_, asked)) if asked.latent == latent => match view.resting {
            Some((resting, at)) if resting == key && at <= state.now => {}
            Some((resting, _)) if resting == key => return,
            _ => return view.resting = Some((key, state.now + REST)),
        },
        _ => {}
    }
    view.resting = None;
    let generation = state.follow.advance();
    let PageKey { latent, setting } = key;
    effects.push(Effect::Request(Request { generation, query: Query::Page { latent, setting } }));
    state.latent_view.asked = Some((generation, key));
}

/// What is said after the selected token, once the comparison that it is of is whole.
fn ask_predictions(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(key) = state.wants_predictions() else { return };
    if state.predictions.asked.as_ref().is_some_and(|(_, asked)| *asked == key) {
        return;
    }
    let generation = state.follow.advance();
    let (token, edits) = (key.token, key.edits.clone());
    effects.push(Effect::Request(Request { generation, query: Query::Predict { token, edits } }));
    (state.predictions.asked, state.predictions.waiting) = (Some((generation, key)), true);
}

/// Latents that have to do with the word being looked for; a slower hand asks once, a faster one is overtaken.
fn ask_hits(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(Overlay::Find(find)) = &mut state.overlay else { return };
    let Some(word) = find.word().map(str::to_owned) else { return };
    if find.asked.as_ref().is_some_and(|(_, asked)| *asked == word) {
        return;
    }
    let generation = state.follow.advance();
    effects.push(Effect::Request(Request { generation, query: Query::Find { word: word.clone() } }));
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
    effects.push(Effect::Request(Request { generation, query: Query::Estimate { job: job.clone() } }));
    (form.asked, form.waiting) = (Some((generation, job)), true);
}

/// A new prompt goes out at once and makes the running comparison stale; a new setting waits until the previous answer
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
    let setting = target.setting;
    effects.push(Effect::Request(if same_prompt {
        Request { generation, query: Query::Turn { setting } }
    } else {
        // The engine reads another prompt now: what was asked about the old one will not be answered.
        follow.latent = None;
        follow.latent_waiting = false;
        Request { generation, query: Query::Compare { text: target.prompt.to_string(), setting } }
    }));
    follow.waiting = true;
    follow.failed = false;
    follow.asked = Some((generation, target));
    // The engine gives up what it was asked to predict, and is asked again when the comparison is whole.
    if state.predictions.waiting {
        (state.predictions.asked, state.predictions.waiting) = (None, false);
    }
}

/// The second prompt follows the ratio as the first does.
fn ask_beside(state: &mut State, effects: &mut Vec<Effect>) {
    let target = state.target();
    let Some(pair) = &mut state.pair else { return };
    let target = pair.target(&target);
    let before = pair.asked.as_ref().map(|(_, asked)| asked);
    if before == Some(&target) || (pair.waiting && before.is_some_and(|before| before.prompt == target.prompt)) {
        return;
    }
    let generation = state.follow.advance();
    let (text, setting) = (target.prompt.to_string(), target.setting);
    effects.push(Effect::Request(Request { generation, query: Query::Beside { text, setting } }));
    (pair.asked, pair.waiting) = (Some((generation, target)), true);
}

fn ask_latent(state: &mut State, effects: &mut Vec<Effect>) {
    let (Some(latent), Some(shown)) = (state.latent, &state.shown) else { return };
    let target = state.target();
    // The engine answers for the prompt and knob it holds.
    let held = shown.of.prompt == target.prompt && shown.of.setting.knob == target.setting.knob;
    if !held || state.follow.latent_waiting {
        return;
    }
    let key = LatentKey { prompt: target.prompt, knob: target.setting.knob, latent, token: state.token };
    if state.follow.latent.as_ref().is_some_and(|(_, k)| *k == key) {
        return;
    }
    let generation = state.follow.advance();
    let (token, knob) = (state.token, target.setting.knob);
    effects.push(Effect::Request(Request { generation, query: Query::ShowLatent { latent, token, knob } }));
    state.follow.latent = Some((generation, key));
    state.follow.latent_waiting = true;
}
