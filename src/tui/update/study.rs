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
    if state.latent.is_some() || !state.study.edits.list.is_empty() {
        write_anew(state, None);
    }
}

/// Write one of the edits in force anew, or another of the selected latent.
pub fn write_anew(state: &mut State, of: Option<usize>) {
    let spec = match of.and_then(|at| state.study.edits.list.get(at)) {
        Some(edit) => edit.to_string(),
        None => state.latent.map_or_else(String::new, |latent| format!("{latent}=")),
    };
    state.overlay = Some(Overlay::Edit { spec, of });
}

/// An edit was written: it is in force if it can be read, else it stays to be mended. Where nothing is left of one, it is taken
/// back.
pub fn edited(state: &mut State, spec: String, of: Option<usize>) {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let of = of.filter(|at| *at < state.study.edits.list.len());
    if spec.trim().is_empty() {
        if let Some(at) = of {
            state.study.edits.list.remove(at);
            say(state);
        }
        return;
    }
    match spec.parse::<Edit>() {
        Ok(edit) if (edit.latent as usize) < d_sae => {
            put(&mut state.study.edits.list, edit, of);
            say(state);
            warn(state, &edit);
        }
        Ok(edit) => {
            let text = format!("there is no latent #{}: they go to #{}", edit.latent, d_sae.saturating_sub(1));
            refuse(state, spec, of, text);
        }
        Err(error) => refuse(state, spec, of, error.to_string()),
    }
}

/// In the place of another, or last. The last word on a latent counts where two speak of the same tokens, as nothing is left of an
/// ablated one to scale.
fn put(list: &mut Vec<Edit>, edit: Edit, of: Option<usize>) {
    let place = of.unwrap_or(list.len());
    let same = |other: &Edit| (other.latent, &other.at) == (edit.latent, &edit.at);
    let others = list.iter().enumerate().filter(|(at, other)| *at != place && !same(other));
    let (before, after): (Vec<_>, Vec<_>) = others.partition(|(at, _)| *at < place);
    let (before, after) = (before.into_iter().map(|(_, edit)| *edit), after.into_iter().map(|(_, edit)| *edit));
    *list = before.chain([edit]).chain(after).collect();
}

/// What a user may not expect of an edit.
fn warn(state: &mut State, edit: &Edit) {
    let list = &state.study.edits.list;
    // Itself, or one behind it that it leaves nothing to do to.
    let from = list.iter().position(|other| other == edit).unwrap_or(list.len());
    let idle = (from..list.len()).find_map(|at| idle(&list[..=at]).map(|before| (list[at], before)));
    let last = state.shown.as_ref().and_then(|shown| shown.comparison.tokens.len().checked_sub(1));
    let text = match (idle, edit.at, last) {
        (Some((edit, before)), ..) => {
            format!("#{edit} changes nothing: #{before} goes before it, and leaves nothing to scale")
        }
        (None, Positions::At(at) | Positions::From(at), Some(last)) if at > last => {
            format!("#{edit} is behind the prompt, whose last token is {last}: only a text that goes on gets there")
        }
        _ => return,
    };
    state.log.push(state.now, Level::Warning, text);
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

fn refuse(state: &mut State, spec: String, of: Option<usize>, why: String) {
    state.log.push(state.now, Level::Warning, why);
    state.overlay = Some(Overlay::Edit { spec, of });
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
