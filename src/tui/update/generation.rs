//! Continuing the prompt, and taking what was written into it.

use prunelens_core::{compare::predict::Speaker, generate::Written};

use super::{effect::Effect, typing};
use crate::{
    engine::{GenerateTask, Query, Request},
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Continued, GenerationForm, Level, Overlay, Panel, Screen, State},
    },
};

/// Continue the prompt as it is compared, with the edits in force. What is there already is only shown; asked for again
/// where it is shown, another draw is made.
pub fn generate(state: &mut State, effects: &mut Vec<Effect>) {
    let again = state.screen == Screen::Generation && !state.generation.going && has_task(state);
    if again && state.generation.choice.temperature > 0.0 {
        state.generation.choice.seed = state.generation.choice.seed.wrapping_add(1);
    } else if again {
        let key = state.keymap.key_of(Action::GenerationSettings, &[Context::Generation]);
        let text = format!("the likeliest tokens are the same every time: {key} sets a temperature, to draw others");
        state.log.push(state.now, Level::Info, text);
    }
    go(state, effects);
}

fn go(state: &mut State, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    typing::submit(state);
    if state.target().prompt.is_empty() {
        return state.log.push(state.now, Level::Warning, "there is nothing to continue yet: type a prompt first");
    }
    state.open(Screen::Generation);
    if has_task(state) {
        return;
    }
    let (task, generation) = (task(state), state.follow.advance());
    effects.push(Effect::Request(Request { generation, query: Query::Generate { task: Some(task.clone()) } }));
    let before = &mut state.generation;
    (before.asked, before.going, before.selected) = (Some((generation, task)), true, 0);
    before.texts.clear();
}

fn task(state: &State) -> GenerateTask {
    let (target, generation) = (state.target(), &state.generation);
    GenerateTask {
        text: target.prompt.to_string(),
        edits: state.edits.clone(),
        setting: target.setting,
        choice: generation.choice,
        most: generation.most,
    }
}

/// What would be asked for now was asked for, and is under way or whole: one that was stopped is written anew.
fn has_task(state: &State) -> bool {
    let generation = &state.generation;
    let asked = generation.asked.as_ref().is_some_and(|(_, asked)| *asked == task(state));
    let whole = !generation.texts.is_empty() && generation.texts.iter().all(|text| text.end.is_some());
    asked && (generation.going || whole)
}

/// No more of it; what there is stays.
pub fn stop(state: &mut State, effects: &mut Vec<Effect>) {
    if std::mem::take(&mut state.generation.going) {
        let generation = state.follow.advance();
        effects.push(Effect::Request(Request { generation, query: Query::Generate { task: None } }));
    }
}

/// These will write.
pub fn begun(state: &mut State, generation: u64, by: Vec<Speaker>) {
    if is_asked(state, generation) && state.generation.going {
        state.generation.texts = by.into_iter().map(Continued::new).collect();
    }
}

pub fn grown(state: &mut State, generation: u64, of: Speaker, written: Written, seconds: f64) {
    // What was on its way when it was stopped comes too late.
    if !is_asked(state, generation) || !state.generation.going {
        return;
    }
    let generation = &mut state.generation;
    if let Some(text) = generation.texts.iter_mut().find(|text| text.of == of) {
        text.grow(written, seconds);
    }
    generation.going = generation.texts.iter().any(|text| text.end.is_none());
}

pub fn is_asked(state: &State, generation: u64) -> bool {
    state.generation.asked.as_ref().is_some_and(|(asked, _)| *asked == generation)
}

/// The text before or after the selected one.
pub fn select(state: &mut State, by: isize) {
    let n = state.generation.texts.len().max(1) as isize;
    state.generation.selected = (state.generation.selected as isize + by).rem_euclid(n) as usize;
}

/// The prompt and what was written behind it become the prompt: its latents are then followed like any other's.
pub fn take(state: &mut State, effects: &mut Vec<Effect>) {
    let generation = &state.generation;
    let (Some(text), Some((_, task))) = (generation.texts.get(generation.selected), &generation.asked) else { return };
    let added = text.bytes();
    if added.is_empty() {
        return;
    }
    // A character of which only a part was written is left out.
    let whole = added.utf8_chunks().last().filter(|chunk| !chunk.invalid().is_empty());
    let end = added.len() - whole.map_or(0, |chunk| chunk.invalid().len());
    let prompt = format!("{}{}", task.text, String::from_utf8_lossy(&added[..end]));
    stop(state, effects);
    typing::remember(state, effects);
    state.prompt.set(&safe::input(&prompt));
    typing::edited(state);
    typing::submit(state);
    state.open(Screen::Explore);
    state.focus = Panel::Latents;
}

/// Ask how to continue.
pub fn settings(state: &mut State) {
    state.overlay = Some(Overlay::Generation(GenerationForm::new(&state.generation)));
}

/// Continue as the form says, if it can be read; else it stays to be mended.
pub fn set(state: &mut State, mut form: GenerationForm, effects: &mut Vec<Effect>) {
    match form.read() {
        Ok((most, choice)) => {
            (state.generation.most, state.generation.choice) = (most, choice);
            // What was wrong with the form is over.
            state.log.dismiss();
            go(state, effects);
        }
        Err((field, why)) => {
            state.log.push(state.now, Level::Warning, why);
            form.selected = field;
            state.overlay = Some(Overlay::Generation(form));
        }
    }
}
