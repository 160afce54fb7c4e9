//! Another session in place of this one: asked for, on its way, there.

use std::sync::Arc;

use prunelens_core::{edit::Edits, session::SessionSpec};

use super::{effect::Effect, resume};
use crate::{
    engine::{Command, SessionInfo},
    safe,
    settings::{SessionSettings, open::with},
    tui::state::{AtlasView, Choice, Coming, Level, OpenLine, Overlay, Phase, Place, State, Strip, Wanted},
};

/// The line to write what to open in, begun with a text.
pub fn ask(state: &mut State, wanted: Wanted, text: &str, effects: &mut Vec<Effect>) {
    state.overlay = Some(Overlay::Open(OpenLine { wanted, text: text.to_owned(), ..OpenLine::default() }));
    changed(state, effects);
}

/// The line is another: what its last word can go on to is looked for.
pub fn changed(state: &mut State, effects: &mut Vec<Effect>) {
    if let Some(Overlay::Open(line)) = &mut state.overlay
        && line.of.as_ref() != Some(&line.text)
    {
        line.of = Some(line.text.clone());
        (line.selected, line.wrong) = (0, None);
        effects.push(match line.wanted {
            Wanted::Session => Effect::Complete(line.text.clone()),
            Wanted::Study => Effect::CompleteStudy(line.text.clone()),
        });
    }
}

/// What the last word of a line can go on to, if it still stands there.
pub fn completed(state: &mut State, text: &str, found: Vec<String>) {
    if let Some(Overlay::Open(line)) = &mut state.overlay
        && line.text == text
    {
        line.found = found;
    }
}

/// Take the selected word.
pub fn complete(state: &mut State, effects: &mut Vec<Effect>) {
    if let Some(Overlay::Open(line)) = &mut state.overlay
        && let Some(word) = line.found.get(line.selected)
    {
        // A folder or a rule is gone on with; anything else is whole.
        let more = if word.ends_with(['/', ':']) { "" } else { " " };
        line.text = match line.wanted {
            Wanted::Session => with(&line.text, &format!("{word}{more}")),
            // A path is one word, whatever is in it.
            Wanted::Study => word.clone(),
        };
    }
    changed(state, effects);
}

/// A line was written whole.
pub fn written(state: &mut State, text: &str, effects: &mut Vec<Effect>) {
    match state.phase {
        Phase::Ready | Phase::Failed(_) => effects.push(Effect::Open(text.trim().to_owned())),
        _ => state.log.push(state.now, Level::Warning, "the session is being loaded: open another one after that"),
    }
}

/// What the line means is known, or why it means nothing.
pub fn understood(
    state: &mut State,
    text: String,
    meant: Result<(SessionSpec, SessionSettings), String>,
    effects: &mut Vec<Effect>,
) {
    match meant {
        Ok((spec, settings)) => begin(state, spec, settings.into(), effects),
        Err(error) => {
            state.log.push(state.now, Level::Error, error.clone());
            let line = OpenLine { of: Some(text.clone()), text, wrong: Some(error), ..OpenLine::default() };
            state.overlay = Some(Overlay::Open(line));
        }
    }
}

pub(super) fn begin(state: &mut State, spec: SessionSpec, settings: Arc<SessionSettings>, effects: &mut Vec<Effect>) {
    if state.phase != Phase::Ready {
        // There is nothing to keep.
        (state.spec, state.settings) = (Arc::new(spec.clone()), settings);
        state.phase = Phase::Loading { progress: None, since: state.now };
        return effects.push(Effect::Command(Command::Load(Box::new(spec))));
    }
    let only_layer = spec.at_layer(0) == state.spec.at_layer(0);
    let layer = spec.layer.filter(|_| only_layer);
    effects.push(Effect::Command(Command::Open(Box::new(spec.clone()))));
    // A view that was to be taken up here is of the session before.
    state.opening = None;
    // An older message would hide how far it is.
    state.log.dismiss();
    state.coming = Some(Coming { spec: spec.into(), settings, layer, progress: None, since: state.now });
}

/// The layer before or behind this one.
pub fn step(state: &mut State, forward: bool, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    match state.layer_beside(forward) {
        Some(layer) => go(state, layer, effects),
        None if state.layers_here().len() > 1 => {
            let which = if forward { "last" } else { "first" };
            state.log.push(state.now, Level::Info, format!("this is the {which} layer that there is an SAE of"));
        }
        None => {
            let text = "this session has SAEs of one layer; --sae with {layer} in its name opens those of all";
            state.log.push(state.now, Level::Info, text);
        }
    }
}

/// Go to a layer.
pub fn go(state: &mut State, layer: usize, effects: &mut Vec<Effect>) {
    if !super::ready(state) || state.layer_wanted() == Some(layer) {
        return;
    }
    let (spec, settings) = (state.spec.at_layer(layer), state.settings.clone());
    if state.info.as_ref().is_some_and(|info| info.layer == layer) {
        // Back where one is before anything has come.
        stop(state, effects);
    } else {
        begin(state, spec, settings, effects);
    }
}

/// Stay here.
pub fn stop(state: &mut State, effects: &mut Vec<Effect>) {
    if state.coming.take().is_some() {
        state.offered = state.opening.take().or(state.offered.take());
        state.log.push(state.now, Level::Info, "stopped: this session stays");
        effects.push(Effect::Command(Command::StopOpening));
    }
}

pub fn failed(state: &mut State, message: &str) {
    // Without one on its way it was stopped: nobody waits for it.
    if let Some(coming) = state.coming.take() {
        state.offered = state.opening.take().or(state.offered.take());
        let what = coming.layer.map_or_else(|| "it".to_owned(), |layer| format!("layer {layer}"));
        let text = format!("{what} could not be opened, this session stays: {}", safe::line(message));
        state.log.push(state.now, Level::Error, text);
    }
}

/// Another session answers from now on. Prompt, token, knobs and screen stay; what was of the SAE or of the models goes.
pub fn opened(state: &mut State, info: Arc<SessionInfo>, spec: Arc<SessionSpec>, effects: &mut Vec<Effect>) {
    if let Some(coming) = state.coming.take_if(|coming| coming.spec.is_met_by(&spec)) {
        state.settings = coming.settings;
    }
    let Some(before) = state.info.replace(info.clone()) else { return };
    let same_models = state.spec.shares_models(&spec);
    let same_sae = before.sae_digest == info.sae_digest;
    let only_layer = state.spec.at_layer(0) == spec.at_layer(0);
    let copies = spec.is_copy_of(&state.spec);
    let anew = state.spec == spec && before.digests != info.digests;
    if state.spec != spec || anew {
        // An atlas is of these models, masks and SAEs.
        state.atlas = AtlasView::default();
    }
    if anew {
        let text = "this session as it was opened: what was trained in it stays in its folder";
        state.log.push(state.now, Level::Info, text);
    } else if state.spec == spec {
        state.log.push(state.now, Level::Info, "this session is the one that is open");
    }
    state.spec = spec;
    state.memory = info.memory.clone();
    (state.indexing, state.read) = (true, None);
    state.knobs = state.knobs.on(info.d_in);
    let place = Place { latent: state.latent, choice: state.choice, edits: state.edits.clone() };
    forget_session(state);
    state.places.insert(before.sae_digest.clone(), place.clone());
    let place = if same_sae { Some(place) } else { state.places.get(&info.sae_digest).cloned() };
    if let Some(place) = place {
        (state.latent, state.choice, state.edits) = (place.latent, place.choice, place.edits);
    }
    if !same_sae {
        state.names.clear();
        state.explained = Arc::default();
        effects.push(Effect::RecallNames(info.sae_digest.clone()));
    }
    for job in &mut state.jobs {
        job.session = (job.of != state.spec).then(|| job.session.take().unwrap_or_else(|| before.label()));
    }
    if !same_models && !copies {
        // They are kept where they were started, and come up when that is opened again.
        // The engine has ended them already.
        let left = state.jobs.iter().filter(|job| job.can_go_on()).count();
        state.jobs.clear();
        state.metrics = Default::default();
        if left > 0 {
            let text = format!("{left} unfinished in the session before: what is done is kept, and goes on there");
            state.log.push(state.now, Level::Info, text);
        }
    }
    if !only_layer && !copies {
        // Figures of copies are of what all of them were made from.
        state.copies.clear();
    }
    if !only_layer {
        state.strip = Strip::default();
        state.offered = None;
        let text = format!("opened {}", safe::line(&info.label()));
        state.log.push(state.now, Level::Info, text);
    }
    for warning in &info.warnings {
        state.log.push(state.now, Level::Warning, warning.clone());
    }
    if let Some(view) = state.opening.take() {
        resume::go(state, view, effects);
    }
}

/// What the session before answered is not this one's, nor what is in force on its SAE.
fn forget_session(state: &mut State) {
    state.forget_shown();
    state.forget_answers();
    state.edits = Edits::default();
    match &mut state.overlay {
        // What it offers is the other session's.
        Some(Overlay::Form(_) | Overlay::Name { .. } | Overlay::Edit { .. }) => state.overlay = None,
        Some(Overlay::Find(find)) => (find.asked, find.waiting, find.hits) = (None, false, Vec::new()),
        _ => {}
    }
    state.choice = Choice::Strongest;
}
