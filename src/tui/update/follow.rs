//! Asking the engine for what the screen lacks: never a backlog, always ending with the value at rest.

use crate::{
    engine::Request,
    tui::{
        state::{LatentKey, Overlay, State},
        update::effect::Effect,
    },
};

pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    ask_comparison(state, effects);
    ask_latent(state, effects);
    ask_estimate(state, effects);
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
