//! Going to what was found.

use super::{act::refill, atlas};
use crate::{
    engine::Hit,
    tui::state::{Choice, Find, Level, Overlay, Screen, State},
};

/// Go to what was found; where that is still to come, as soon as it is there.
pub fn accept(state: &mut State, sought: Find) {
    let d_sae = state.info.as_ref().map_or(0, |i| i.d_sae);
    let here = (&state.table.rows[..], state.table.whole);
    if sought.looks() && sought.found(d_sae, here, &state.names, &state.explained).is_empty() {
        state.overlay = Some(Overlay::Find(Find { go: true, ..sought }));
    } else if state.screen == Screen::Atlas {
        atlas::found(state, &sought);
    } else {
        go(state, &sought);
    }
}

/// The engine's answer.
pub fn arrived(state: &mut State, generation: u64, hits: Vec<Hit>) {
    let Some(Overlay::Find(find)) = &mut state.overlay else { return };
    if find.asked.as_ref().is_none_or(|(asked, _)| *asked != generation) {
        return;
    }
    (find.hits, find.waiting) = (hits, false);
    if std::mem::take(&mut find.go)
        && let Some(Overlay::Find(sought)) = state.overlay.take()
    {
        accept(state, sought);
    }
}

/// Go to the latent chosen among those found, whether it fires here or not.
fn go(state: &mut State, sought: &Find) {
    let d_sae = state.info.as_ref().map_or(0, |i| i.d_sae);
    match sought
        .found(d_sae, (&state.table.rows, state.table.whole), &state.names, &state.explained)
        .get(sought.selected)
    {
        Some(found) => {
            state.latent = Some(found.latent);
            state.choice = Choice::Found;
            refill(state);
        }
        None if sought.query.is_empty() => {}
        None => {
            let text = match sought.number() {
                Some(latent) => {
                    format!("there is no latent #{latent}: they go from #0 to #{}", d_sae.saturating_sub(1))
                }
                None => match sought.none((&state.table.rows, state.table.whole)) {
                    Some(none) => format!("{none}, and no latent was found for the word"),
                    None => format!("no latent was found for {:?}", sought.query.trim()),
                },
            };
            state.log.push(state.now, Level::Warning, text);
        }
    }
}
