//! What is on screen, for files and the clipboard.

use prunelens_metrics::atlas::Fate;

use crate::{
    export::{AtlasFigures, Figures, RunFigures, table},
    tui::{
        state::{
            Screen, State,
            atlas::{BINS, Bin, FATES, axis::Axis},
        },
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
    })
}

/// The chosen run, and the one it is compared with.
fn runs(state: &State) -> Option<RunFigures> {
    let (chosen, info) = (state.chosen()?, state.info.as_ref()?);
    let session = |session: Option<&str>| session.map(str::to_owned).unwrap_or_else(|| info.label());
    let beside = state.beside().and_then(|b| Some((session(b.session()), b.table()?.clone())));
    Some(RunFigures {
        spec: chosen.spec().clone(),
        session: session(chosen.session()),
        table: chosen.table()?.clone(),
        details: chosen.details().to_vec(),
        beside,
    })
}

/// The atlas as it is looked at.
fn atlas(state: &State) -> Option<AtlasFigures> {
    let view = &state.atlas;
    let drawn = view.drawn.clone()?;
    let axis = |axis: &Axis| (axis.name.clone(), [0.0, 1.0].map(|end| table::short(axis.value(end))));
    let middle = |at: u16, n: u16| (f64::from(at) + 0.5) / f64::from(n);
    let spot = |bin: &Bin| {
        let fate = (0..FATES).rev().max_by_key(|fate| bin.counts[*fate]).unwrap_or(0);
        (middle(bin.x, BINS.0), middle(bin.y, BINS.1), bin.counts.iter().sum(), Fate::ALL[fate])
    };
    Some(AtlasFigures {
        atlas: view.atlas.clone()?,
        by_ratio: view.by_ratio.clone(),
        axes: [axis(&drawn.x), axis(&drawn.y)],
        spots: drawn.bins.iter().map(spot).collect(),
        list: drawn.list.iter().map(|(latent, _)| *latent).collect(),
        ranked: view.name(view.rank).to_owned(),
        filters: view.filters(),
        names: state.names.clone(),
    })
}

pub fn markdown(state: &State) -> Option<String> {
    match state.screen {
        Screen::Metrics => runs(state).map(|runs| runs.markdown()),
        Screen::Atlas => atlas(state).map(|atlas| atlas.markdown()),
        _ => figures(state).map(|figures| figures.markdown()),
    }
}

pub fn export(state: &State) -> Option<Export> {
    match state.screen {
        Screen::Metrics => {
            let runs = runs(state)?;
            Some(Export { name: runs.name(), documents: runs.documents(), picture: Picture::Run })
        }
        Screen::Atlas => {
            Some(Export { name: "atlas".into(), documents: atlas(state)?.documents(), picture: Picture::Screen })
        }
        _ => Some(Export { name: "explore".into(), documents: figures(state)?.documents(), picture: Picture::Screen }),
    }
}
