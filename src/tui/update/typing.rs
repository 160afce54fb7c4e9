//! Text entry: the prompt, the palette's query, a latent's number.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use tui_textarea::CursorMove;

use crate::{
    safe,
    tui::state::{LONGEST, Level, Overlay, PROMPTS, Panel, Screen, State},
    tui::update::effect::Effect,
};

/// A prompt is compared when typing pauses this long.
pub const PAUSE: Duration = Duration::from_millis(120);

/// With an empty prompt, digits take its examples.
pub fn takes_example(state: &mut State, event: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    let plain = event.modifiers.is_empty() && state.overlay.is_none() && state.screen == Screen::Explore;
    let KeyCode::Char(digit @ '0'..='3') = event.code else { return false };
    let Some(info) = state.info.clone().filter(|_| plain && state.prompt.is_blank() && super::ready(state)) else {
        return false;
    };
    if digit == '0' {
        let offered = state.offered.is_some();
        if offered {
            super::resume::take_up(state, effects);
        }
        return offered;
    }
    let Some(example) = info.examples.get(digit as usize - '1' as usize) else { return false };
    state.prompt.set(&safe::input(example));
    state.focus = Panel::Latents;
    edited(state);
    submit(state);
    true
}

/// A key that is no action while letters go into a text.
pub fn typed(state: &mut State, event: KeyEvent) {
    let letter = match event.code {
        KeyCode::Char(c) if !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => Some(c),
        _ => None,
    };
    match &mut state.overlay {
        Some(Overlay::Palette { query, selected }) => {
            *selected = 0;
            edit(query, &event, letter, LINE);
        }
        Some(Overlay::Find(find)) => {
            (find.selected, find.go) = (0, false);
            edit(&mut find.query, &event, letter, LINE);
        }
        Some(Overlay::Edit { spec, .. }) => edit(spec, &event, letter, LINE),
        Some(Overlay::Name { name, .. }) => edit(name, &event, letter, LINE),
        Some(Overlay::WriteTo { folder, .. }) => edit(folder, &event, letter, FIELD),
        Some(Overlay::Ask { text, .. }) => edit(text, &event, letter, FIELD),
        Some(Overlay::Open(line)) => edit(&mut line.text, &event, letter, FIELD),
        Some(Overlay::Generation(form)) => {
            if let Some(text) = form.fields.get_mut(form.selected) {
                edit(text, &event, letter, LINE);
            }
        }
        Some(Overlay::Form(form)) => {
            if let Some(text) = form.selected.checked_sub(1).and_then(|at| form.fields.get_mut(at)) {
                edit(text, &event, letter, FIELD);
            }
        }
        _ => {
            let full = letter.is_some() && state.prompt.room() == 0;
            if !full && state.prompt.area.input(event) {
                edited(state);
            }
        }
    }
}

/// Longest query, name or command, and longest path or list in a field, in bytes.
const LINE: usize = 240;
const FIELD: usize = 4096;

/// A letter at the end, the last one less, or nothing left at Ctrl-U, as in a shell.
fn edit(text: &mut String, event: &KeyEvent, letter: Option<char>, most: usize) {
    match (event.code, letter) {
        (KeyCode::Backspace, _) => drop(text.pop()),
        (KeyCode::Char('u'), None) if event.modifiers == KeyModifiers::CONTROL => text.clear(),
        (_, Some(c)) if text.len() < most => text.push(c),
        _ => {}
    }
}

fn paste_path(field: &mut String, text: &str) {
    let room = FIELD.saturating_sub(field.len());
    field.extend(text.chars().filter(|c| !c.is_control()).take(room / 4));
}

pub fn pasted(state: &mut State, text: &str) {
    let text = safe::input(text);
    let takes = state.takes_text();
    match &mut state.overlay {
        Some(Overlay::Palette { query, .. }) => query.extend(text.chars().filter(|c| !c.is_control()).take(LINE / 4)),
        Some(Overlay::Find(find)) => {
            find.go = false;
            find.query.extend(text.chars().filter(|c| !c.is_control()).take(LINE / 4));
        }
        Some(Overlay::Name { name, .. }) => name.extend(text.chars().filter(|c| !c.is_control()).take(LINE / 4)),
        Some(Overlay::Edit { spec, .. }) => spec.extend(text.chars().filter(|c| !c.is_control()).take(LINE / 4)),
        Some(Overlay::WriteTo { folder, .. }) => paste_path(folder, &text),
        Some(Overlay::Ask { text: name, .. }) => paste_path(name, &text),
        Some(Overlay::Open(line)) => paste_path(&mut line.text, &text),
        Some(Overlay::Form(form)) => {
            if let Some(field) = form.selected.checked_sub(1).and_then(|at| form.fields.get_mut(at)) {
                paste_path(field, &text);
            }
        }
        Some(_) => {}
        None if takes => {
            let room = state.prompt.room();
            let kept: String = text.chars().take(room).collect();
            if kept.len() < text.len() {
                let note = format!("the paste was cut after {room} characters: a prompt takes {LONGEST}");
                state.log.push(state.now, Level::Warning, note);
            }
            state.focus = Panel::Prompt;
            if state.prompt.area.insert_str(kept) {
                edited(state);
            }
        }
        None => {}
    }
}

/// The prompt has changed: compare after a pause, at once when there is nothing left to compare.
pub fn edited(state: &mut State) {
    state.at_end = true;
    if state.prompt.is_blank() {
        submit(state);
    } else if !state.slow() {
        state.follow.deadline = Some(state.now + PAUSE);
    }
}

/// The prompt is left: it can be taken up again.
pub fn remember(state: &mut State, effects: &mut Vec<Effect>) {
    state.recalled = None;
    let text = state.prompt.text();
    if text.trim().is_empty() || state.history.last() == Some(&text) {
        return;
    }
    state.history.retain(|earlier| *earlier != text);
    state.history.push(text);
    let old = state.history.len().saturating_sub(PROMPTS);
    state.history.drain(..old);
    effects.push(Effect::KeepPrompt);
}

/// An earlier prompt in the place of this one, or a later one again. Within a prompt of several lines, lines come first.
pub fn recall(state: &mut State, earlier: bool) {
    let lines = state.prompt.area.lines().len();
    let row = state.prompt.area.cursor().0;
    let inside = if earlier { row > 0 } else { row + 1 < lines };
    if inside {
        let towards = if earlier { CursorMove::Up } else { CursorMove::Down };
        return state.prompt.area.move_cursor(towards);
    }
    let at = match (state.recalled, earlier) {
        (None, true) => {
            // What is being typed is not lost: it is the newest.
            let text = state.prompt.text();
            let known = text.trim().is_empty() || state.history.contains(&text);
            if !known {
                state.history.push(text.clone());
            }
            state.history.iter().rposition(|earlier| *earlier != text)
        }
        (Some(at), true) => at.checked_sub(1),
        (Some(at), false) => Some(at + 1).filter(|at| *at < state.history.len()),
        (None, false) => None,
    };
    let Some(at) = at else { return };
    state.recalled = Some(at);
    let text = state.history[at].clone();
    state.prompt.set(&text);
    edited(state);
}

/// What is typed is what is wanted.
pub fn submit(state: &mut State) {
    state.follow.deadline = None;
    let text = state.prompt.text();
    if *state.prompt.wanted != *text {
        // Somebody has gone on with another prompt: the rest of a view is not for it.
        state.restoring.take_if(|view| *safe::input(&view.prompt) != *text);
        state.prompt.wanted = text.into();
        state.follow.failed = false;
    }
}
