//! `update`: the one place where the state changes. Pure: no clock, no channel, no file.

mod act;
mod arrive;
mod atlas;
mod copies;
mod count;
mod edits;
pub mod effect;
mod exports;
mod find;
mod follow;
mod generation;
mod jobs;
mod latent;
pub mod message;
mod mouse;
mod open;
mod pair;
mod resume;
mod strip;
mod study;
mod typing;

pub use effect::Effect;
pub use message::Message;

use std::path::PathBuf;

use crossterm::event::{KeyEvent, KeyEventKind, KeyModifiers};

use crate::{
    engine::Command,
    safe,
    tui::{
        keys::{action::Action, keymap::Key},
        state::{Level, Phase, State},
    },
};

/// Apply what happened; returns what the outside has to do about it.
pub fn update(state: &mut State, message: Message) -> Vec<Effect> {
    let mut effects = Vec::new();
    match message {
        Message::TimePassed(now) => {
            let (frame, before) = (state.spin(), state.now);
            state.now = now;
            state.redraw |= state.animating() && state.spin() != frame;
            state.redraw |= state.follow.ages().any(|at| before < at && at <= now);
            if state.follow.deadline.is_some_and(|d| d <= now) {
                typing::submit(state);
            }
            if state.count_due().is_some_and(|due| due <= now) {
                state.redraw = true;
                count::alone(state, &mut effects);
            }
        }
        // A study that is as it was is not drawn anew.
        Message::Study(told) => state.redraw |= study::told(state, *told, &mut effects),
        message => {
            state.redraw = true;
            happen(state, message, &mut effects);
        }
    }
    state.walk_on();
    follow::ask(state, &mut effects);
    study::ask(state, &mut effects);
    exports::send_later(state, &mut effects);
    let (target, detailed) = (state.target(), state.detailed());
    state.follow.note(target, detailed, state.now);
    effects
}

/// Begin with a study on screen.
pub fn show_study(state: &mut State, folder: std::path::PathBuf) {
    study::go(state, folder);
}

/// The first effect of a session: load it.
pub fn start(state: &State) -> Vec<Effect> {
    vec![Effect::Command(Command::Load(Box::new(state.spec.as_ref().clone())))]
}

fn happen(state: &mut State, message: Message, effects: &mut Vec<Effect>) {
    match message {
        Message::TimePassed(_) | Message::Study(_) => {}
        Message::KeyPressed(event) => key_pressed(state, event, effects),
        Message::Pasted(text) => {
            typing::pasted(state, &text);
            open::changed(state, effects);
        }
        Message::Resized(width, height) => state.size = (width, height),
        Message::Clicked(at) => mouse::clicked(state, at, effects),
        Message::Dragged(at) => mouse::dragged(state, at, effects),
        Message::Turned { over, down } => mouse::turned(state, over, down, effects),
        Message::Reported(report) => arrive::reported(state, *report, effects),
        Message::Copied(bytes) => {
            state.log.push(
                state.now,
                Level::Info,
                format!("sent {bytes} bytes to the terminal's clipboard; e writes files"),
            );
        }
        Message::Named { digest, names, explained } => {
            if state.info.as_ref().is_some_and(|info| info.sae_digest == digest) {
                (state.names, state.explained) = (names, explained.into());
            }
        }
        Message::Completed { line, found } => open::completed(state, &line, found),
        Message::Meant { line, meant } => open::understood(state, line, meant.map(|meant| *meant), effects),
        Message::Explained(Ok(explained)) => {
            let (n, from) = (explained.texts.len(), safe::line(&explained.from));
            state.log.push(state.now, Level::Info, format!("{n} latents are explained by {from}; own names go first"));
            state.explained = explained.into();
        }
        Message::Explained(Err(error)) => state.log.push(state.now, Level::Error, error),
        Message::Recording(file) => state.recording = file,
        Message::Forgotten(why) => state.log.push(state.now, Level::Warning, why),
        Message::Exported(Ok(paths)) => {
            state.log.push(state.now, Level::Info, format!("wrote {}", written(&paths)));
        }
        Message::Exported(Err(error)) => state.log.push(state.now, Level::Error, error),
        Message::Terminated => effects.extend(quit()),
    }
}

/// Files of one name as that name with their endings, and the folder once.
fn written(paths: &[PathBuf]) -> String {
    let all = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let [first, _, ..] = paths else { return all() };
    let stem = first.with_extension("");
    let endings = paths.iter().map(|path| path.to_str()?.strip_prefix(stem.to_str()?));
    match (endings.collect::<Option<Vec<_>>>(), stem.parent(), stem.file_name()) {
        (Some(endings), Some(folder), Some(name)) => {
            format!("{} as {} in {}", name.display(), endings.join(" "), folder.display())
        }
        _ => all(),
    }
}

fn key_pressed(state: &mut State, event: KeyEvent, effects: &mut Vec<Effect>) {
    if event.kind == KeyEventKind::Release {
        return;
    }
    state.log.seen();
    if typing::takes_example(state, &event, effects) {
        return;
    }
    if count::digit(state, &event) {
        return;
    }
    let action_of = |state: &State| state.keymap.action(state.contexts(), Key::from(event));
    if let Some(count) = state.count {
        match action_of(state) {
            Some(action) if count::repeats(action) => {
                state.count = None;
                return count::repeat(state, action, count, effects);
            }
            Some(Action::Back) => {
                state.count = None;
                return;
            }
            _ => count::alone(state, effects),
        }
    }
    let action = action_of(state);
    match action {
        Some(action) => act::act(state, action, effects),
        None if state.typing() => {
            typing::typed(state, event);
            open::changed(state, effects);
        }
        // Esc and a key in one go look like Alt and the key.
        None if event.modifiers == KeyModifiers::ALT => {
            act::act(state, Action::Back, effects);
            key_pressed(state, KeyEvent { modifiers: KeyModifiers::NONE, ..event }, effects);
        }
        None => {}
    }
}

/// Leave: the engine stops what it does, then the loop ends.
fn quit() -> [Effect; 2] {
    [Effect::Command(Command::Quit), Effect::Quit]
}

fn ready(state: &State) -> bool {
    state.phase == Phase::Ready
}
