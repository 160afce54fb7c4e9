//! What is on screen, for files and the clipboard.

use prunelens_core::compare::{Example, Variant};

use crate::{
    export::{
        Document, Figures, RunFigures, html,
        pair::{PairFigures, PairRow},
    },
    tui::{
        state::{PredictKey, Row, Screen, State},
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
        _ => {
            let mut documents = figures(state)?.documents();
            documents.extend(html(state));
            Some(Export { name: "explore".into(), documents, picture: Picture::Screen })
        }
    }
}

/// What is looked at, as a page for a browser.
fn html(state: &State) -> Option<Document> {
    let (shown, info) = (state.shown.as_ref()?, state.info.as_ref()?);
    let comparison = &*shown.comparison;
    // Only what belongs to the selection, whatever else has come.
    let detail = state.detail.as_deref().filter(|_| state.detailed());
    let page = state.study.page.as_deref().filter(|page| Some(page.latent) == state.latent);
    let texts: Vec<(String, &[Example])> = match (page, detail) {
        (Some(page), _) => {
            let of = [Variant::Original, state.study.beside];
            let variants = page.variants.iter().filter(|(variant, _)| of.contains(variant));
            variants.map(|(variant, corpus)| (format!("Texts on {variant}"), corpus.texts.top.as_slice())).collect()
        }
        (None, Some(detail)) => vec![("Texts on the original model".to_owned(), detail.examples.as_slice())],
        (None, None) => Vec::new(),
    };
    let key = PredictKey { target: state.target(), token: state.token, edits: state.study.edits.clone() };
    let edits: Vec<String> = state.study.edits.list.iter().map(|edit| format!("#{edit}")).collect();
    let mut settings = vec![
        ("model", info.model.clone()),
        ("compression", info.compression.clone()),
        ("SAE", format!("{} with {} latents", info.sae, info.d_sae)),
        ("hook", info.hook.clone()),
        ("activations", info.space.clone()),
        ("the SAE compressed alike", format!("{}, {}", comparison.setting, comparison.setting.knob.meaning())),
        ("edits", if edits.is_empty() { "none".into() } else { edits.join(", ") }),
        ("device", format!("{}, {}", info.device, info.dtype)),
        ("program", format!("prunelens {}", env!("CARGO_PKG_VERSION"))),
    ];
    settings.extend(info.digests.iter().map(|(name, digest)| match name.as_str() {
        "model" => ("digest of the model", digest.clone()),
        "sae" => ("digest of the SAE", digest.clone()),
        _ => ("digest of the trained SAE", digest.clone()),
    }));
    let rows = state.table.rows.iter().map(|row| html::Row {
        latent: row.latent,
        name: state.called(row.latent).map(|(name, from)| match from {
            Some(from) => format!("{name} ({from})"),
            None => name.to_owned(),
        }),
        values: row.values,
        matched: row.matched,
        path: row.path.clone(),
    });
    let view = html::View {
        settings,
        comparison,
        scale: comparison.setting.knob.scale(info.d_in),
        token: state.token,
        latent: state.latent,
        rows: rows.collect(),
        detail,
        texts,
        predictions: state.study.current(&key),
    };
    Some(Document { extension: "html".into(), text: view.html() })
}
