//! The latent's screen, predictions, and edits.

use prunelens_core::{
    compare::Variant,
    edit::{Change, Edit, ErrorTerm, Positions},
};

use super::{act::move_latent, atlas, effect::Effect};
use crate::tui::{
    keys::action::{Action, Context},
    state::{Level, Overlay, Screen, State},
};

/// The selected latent in full.
pub fn open(state: &mut State) {
    if state.latent.is_some() {
        state.study.scroll = 0;
        state.study.from_atlas = state.screen == Screen::Atlas;
        // What the loss owes to it and its neighbours, where an atlas has measured that.
        if state.atlas.atlas.is_none() && state.atlas.wanted.is_none() {
            state.atlas.wanted = state.newest_atlas();
        }
        state.open(Screen::Latent);
    }
}

/// The latent above or below in the table, or in the list of the atlas.
pub fn walk(state: &mut State, by: isize) {
    state.study.scroll = 0;
    if state.study.from_atlas {
        return atlas::walk(state, by);
    }
    move_latent(state, |at, _| at.saturating_add_signed(by));
}

/// The next variant's texts beside the original's; with another latent pinned, those of both in the next variant.
pub fn beside(state: &mut State) {
    let pair = state.study.pinned_beside(state.latent).is_some();
    let variants = state.info.as_ref().map_or(&Variant::ALL[..], |info| &info.variants);
    let all: Vec<Variant> = variants.iter().copied().filter(|v| pair || *v != Variant::Original).collect();
    let shown = if pair { &mut state.study.both } else { &mut state.study.beside };
    let at = all.iter().position(|v| v == shown).map_or(0, |at| at + 1);
    if let Some(next) = all.get(at % all.len().max(1)) {
        *shown = *next;
    }
}

pub fn pin(state: &mut State) {
    let before = state.study.pinned.as_ref().map(|page| page.latent);
    state.study.pinned = match &state.study.page {
        Some(page) if Some(page.latent) == state.latent && before != state.latent => {
            let key = state.keymap.key_of(Action::TextsBeside, &[Context::Latent]);
            let text = format!(
                "#{} stays beside: go to another latent, or find one; {key} then shows both in the next variant",
                page.latent
            );
            state.log.push(state.now, Level::Info, text);
            state.study.both = Variant::Original;
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

/// Whether the selected latent is ablated everywhere; if not, it is from now on.
pub fn ablate(state: &mut State) {
    let Some(latent) = state.latent else { return };
    let edit = Edit { latent, change: Change::Ablate, at: Positions::All };
    let edits = &mut state.study.edits.list;
    match edits.iter().position(|e| *e == edit) {
        Some(at) => drop(edits.remove(at)),
        None => {
            edits.retain(|other| (other.latent, &other.at) != (latent, &edit.at));
            edits.push(edit);
        }
    }
    say(state);
}

pub fn edit(state: &mut State) {
    if let Some(latent) = state.latent {
        state.overlay = Some(Overlay::Edit { spec: format!("{latent}=") });
    }
}

/// An edit was written: it is in force if it can be read, else it stays to be mended.
pub fn edited(state: &mut State, spec: String) {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    match spec.parse::<Edit>() {
        Ok(edit) if (edit.latent as usize) < d_sae => {
            // The last word on a latent counts where both speak of the same tokens, as nothing is left of an ablated one to scale.
            state.study.edits.list.retain(|other| (other.latent, &other.at) != (edit.latent, &edit.at));
            state.study.edits.list.push(edit);
            say(state);
            if let Some(before) = idle(&state.study.edits.list) {
                let text = format!("#{edit} changes nothing: #{before} goes before it, and leaves nothing to scale");
                state.log.push(state.now, Level::Warning, text);
            }
        }
        Ok(edit) => {
            let text = format!("there is no latent #{}: they go to #{}", edit.latent, d_sae.saturating_sub(1));
            refuse(state, spec, text);
        }
        Err(error) => refuse(state, spec, error.to_string()),
    }
}

/// The edit that leaves nothing to do to the last one: edits of a latent are made in their order.
fn idle(edits: &[Edit]) -> Option<Edit> {
    let (last, before) = edits.split_last()?;
    let earlier =
        before.iter().rfind(|other| other.latent == last.latent && !matches!(other.change, Change::Add(_)))?;
    let covers = match (earlier.at, last.at) {
        (Positions::All, _) => true,
        (Positions::From(from), Positions::At(at) | Positions::From(at)) => from <= at,
        (at, also) => at == also,
    };
    let scales = matches!(last.change, Change::Scale(_)) && earlier.change == Change::Ablate;
    (scales && covers).then_some(*earlier)
}

fn refuse(state: &mut State, spec: String, why: String) {
    state.log.push(state.now, Level::Warning, why);
    state.overlay = Some(Overlay::Edit { spec });
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
    effects.push(Effect::KeepNames);
}

pub fn drop_edits(state: &mut State) {
    state.study.edits.list.clear();
    say(state);
}

pub fn error_term(state: &mut State) {
    let error = &mut state.study.edits.error;
    *error = match error {
        ErrorTerm::Keep => ErrorTerm::Drop,
        ErrorTerm::Drop => ErrorTerm::Keep,
    };
    say(state);
}

fn say(state: &mut State) {
    let edits = &state.study.edits;
    let list: Vec<String> = edits.list.iter().map(|edit| format!("#{edit}")).collect();
    let key = state.keymap.key_of(Action::Predictions, &[Context::Explore]);
    let text = match list.is_empty() {
        true => "no edit is in force".to_owned(),
        false => {
            format!("in force: {} (error term: {}); {key} shows what the models then say", list.join(", "), edits.error)
        }
    };
    state.log.push(state.now, Level::Info, text);
}
