//! Edits of latents: written, changed, taken back.

use prunelens_core::edit::{Change, Edit, ErrorTerm, Positions};

use crate::tui::{
    keys::action::{Action, Context},
    state::{Level, Overlay, State},
};

/// Whether the selected latent is ablated everywhere; if not, it is from now on.
pub fn ablate(state: &mut State) {
    let Some(latent) = state.latent else { return };
    let edit = Edit { latent, change: Change::Ablate, at: Positions::All };
    let edits = &mut state.edits.list;
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
    if state.latent.is_some() || !state.edits.list.is_empty() {
        write_anew(state, None);
    }
}

/// Write one of the edits in force anew, or another of the selected latent.
pub fn write_anew(state: &mut State, of: Option<usize>) {
    let spec = match of.and_then(|at| state.edits.list.get(at)) {
        Some(edit) => edit.to_string(),
        None => state.latent.map_or_else(String::new, |latent| format!("{latent}=")),
    };
    state.overlay = Some(Overlay::Edit { spec, of });
}

/// An edit was written: it is in force if it can be read, else it stays to be mended. Where nothing is left of one, it is taken
/// back.
pub fn edited(state: &mut State, spec: String, of: Option<usize>) {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let of = of.filter(|at| *at < state.edits.list.len());
    if spec.trim().is_empty() {
        if let Some(at) = of {
            state.edits.list.remove(at);
            say(state);
        }
        return;
    }
    match spec.parse::<Edit>() {
        Ok(edit) if (edit.latent as usize) < d_sae => {
            put(&mut state.edits.list, edit, of);
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
    let list = &state.edits.list;
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

pub fn drop_edits(state: &mut State) {
    state.edits.list.clear();
    say(state);
}

pub fn error_term(state: &mut State) {
    let error = &mut state.edits.error;
    *error = match error {
        ErrorTerm::Keep => ErrorTerm::Drop,
        ErrorTerm::Drop => ErrorTerm::Keep,
    };
    say(state);
}

fn say(state: &mut State) {
    let edits = &state.edits;
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
