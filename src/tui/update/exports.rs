//! What is on screen, for files and the clipboard.

use crate::{
    export::{
        Figures, RunFigures,
        pair::{PairFigures, PairRow},
    },
    tui::{
        state::{Row, Screen, State},
        update::effect::{Export, Picture},
    },
};

/// The prompt's figures, and those of all jobs.
fn figures(state: &State) -> Option<Figures> {
    let (shown, info) = (state.shown.as_ref()?, state.info.as_ref()?);
    Some(Figures {
        model: info.model.clone(),
        compression: info.compression.clone(),
        sae: info.sae.clone(),
        comparison: shown.comparison.clone(),
        tables: state.jobs.iter().filter_map(|j| j.table.clone()).collect(),
        pair: pair(state),
    })
}

/// The table of two prompts.
fn pair(state: &State) -> Option<PairFigures> {
    let (pair, first) = (state.pair.as_ref()?, state.shown.as_ref()?);
    let second = pair.shown.as_ref()?;
    let row = |row: &Row| Some(PairRow { latent: row.latent, first: row.values, second: row.second? });
    let tokens = if state.table.whole { None } else { Some((state.token, pair.beside(state.token)?)) };
    Some(PairFigures {
        second: second.comparison.clone(),
        tokens,
        variants: first.comparison.views.iter().map(|view| view.variant).collect(),
        rows: state.table.rows.iter().filter_map(row).collect(),
    })
}

/// The chosen run, and the one it is compared with.
fn runs(state: &State) -> Option<RunFigures> {
    let chosen = state.chosen()?;
    let session = |session: Option<&str>| session.map(str::to_owned).unwrap_or_else(|| session_of(state));
    let beside = state.beside().and_then(|b| Some((session(b.session()), b.table()?.clone())));
    Some(RunFigures {
        spec: chosen.spec().clone(),
        session: session(chosen.session()),
        table: chosen.table()?.clone(),
        details: chosen.details().to_vec(),
        beside,
    })
}

fn session_of(state: &State) -> String {
    let Some(info) = &state.info else { return String::new() };
    [&info.model, &info.compression, &info.sae, &info.hook].map(String::as_str).join(", ")
}

pub fn markdown(state: &State) -> Option<String> {
    match state.screen {
        Screen::Metrics => runs(state).map(|runs| runs.markdown()),
        _ => figures(state).map(|figures| figures.markdown()),
    }
}

pub fn export(state: &State) -> Option<Export> {
    match state.screen {
        Screen::Metrics => {
            let runs = runs(state)?;
            Some(Export { name: runs.name(), documents: runs.documents(), picture: Picture::Run })
        }
        _ => Some(Export { name: "explore".into(), documents: figures(state)?.documents(), picture: Picture::Screen }),
    }
}
