//! Going to what was found.

use super::act::refill;
use crate::tui::state::{Choice, Find, Level, State};

/// Go to the latent chosen among those found, whether it fires here or not.
pub fn go(state: &mut State, sought: &Find) {
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
