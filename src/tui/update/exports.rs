//! What is on screen, for files and the clipboard.

use prunelens_core::compare::{Example, Variant};
use prunelens_metrics::atlas::Fate;

use crate::{
    export::{
        AtlasFigures, Document, Figures, RunFigures, StripFigures, html,
        pair::{PairFigures, PairRow},
        table,
    },
    tui::{
        state::{
            Level, Outgoing, PredictKey, Row, Screen, State,
            atlas::{BINS, Bin, FATES, axis::Axis},
        },
        update::effect::{Effect, Export, Picture},
    },
};

/// Whether what is on screen is of the prompt at the setting.
fn of_prompt(state: &State) -> bool {
    !matches!(state.screen, Screen::Metrics | Screen::Atlas | Screen::Layers)
}

/// Copy or write what is on screen; where figures of the prompt are on their way, once they have come.
pub fn send(state: &mut State, what: Outgoing, effects: &mut Vec<Effect>) {
    if of_prompt(state) && state.prompt_incomplete() {
        state.outgoing = Some(what);
        return state.log.push(state.now, Level::Info, "these figures are on their way, and go out when they are here");
    }
    let effect = match what {
        Outgoing::Copy => markdown(state).map(Effect::Copy),
        Outgoing::Files => export(state).map(Effect::Export),
    };
    match effect {
        Some(effect) => effects.push(effect),
        None => nothing_yet(state),
    }
}

/// What was asked for before its figures were there.
pub fn send_later(state: &mut State, effects: &mut Vec<Effect>) {
    if of_prompt(state)
        && !state.prompt_incomplete()
        && let Some(what) = state.outgoing.take()
    {
        send(state, what, effects);
    }
}

/// Say why there is nothing to write.
pub fn nothing_yet(state: &mut State) {
    let text = match state.screen {
        Screen::Metrics => "there are no figures yet: select a run that has some",
        Screen::Atlas => "there is no atlas yet",
        _ if state.shown.is_some() => "these figures have not come yet",
        _ => return state.log.push(state.now, Level::Warning, format!("there are no figures yet: {}", state.unread())),
    };
    state.log.push(state.now, Level::Warning, text);
}

/// The prompt's figures, and those of all jobs.
fn figures(state: &State) -> Option<Figures> {
    let (shown, info) = (state.shown.as_ref()?, state.info.as_ref()?);
    Some(Figures {
        model: info.model.clone(),
        compression: info.compression.clone(),
        sae: info.sae.clone(),
        sae_name: info.sae_name.clone(),
        comparison: shown.comparison.clone(),
        tables: state.jobs.iter().filter(|job| job.is_here()).filter_map(|job| job.table.clone()).collect(),
        pair: pair(state),
        edits: state.edits.clone(),
        predictions: state.predictions.current(&predicted(state)).cloned(),
    })
}

/// What predictions must be of to belong to what is exported.
fn predicted(state: &State) -> PredictKey {
    PredictKey { target: state.target(), token: state.token, edits: state.edits.clone() }
}

/// The table of two prompts.
fn pair(state: &State) -> Option<PairFigures> {
    let (pair, first) = (state.pair.as_ref()?, state.shown.as_ref()?);
    let second = pair.shown.as_ref()?;
    let row = |row: &Row| Some(PairRow { latent: row.latent, first: row.values, second: row.second? });
    let tokens = if state.table.whole { None } else { Some((state.token, pair.beside(state.token))) };
    Some(PairFigures {
        second: second.comparison.clone(),
        tokens,
        variants: first.comparison.views.iter().map(|view| view.variant).collect(),
        rows: state.table.rows.iter().filter_map(row).collect(),
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

/// The prompt at the layers that are known at the live setting.
fn layers(state: &State) -> Option<StripFigures> {
    let (info, (_, of)) = (state.info.as_ref()?, state.strip.asked.as_ref()?);
    let known = state.strip.rows.values().filter_map(|row| row.as_ref().ok());
    let layers: Vec<_> = known.filter(|figures| figures.setting == of.setting).cloned().collect();
    (!layers.is_empty()).then(|| StripFigures {
        model: info.model.clone(),
        compression: info.compression.clone(),
        prompt: of.prompt.to_string(),
        setting: of.setting,
        layers,
    })
}

pub fn markdown(state: &State) -> Option<String> {
    match state.screen {
        Screen::Metrics => runs(state).map(|runs| runs.markdown()),
        Screen::Atlas => atlas(state).map(|atlas| atlas.markdown()),
        Screen::Layers => layers(state).map(|layers| layers.markdown()),
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
        Screen::Layers => {
            Some(Export { name: "layers".into(), documents: layers(state)?.documents(), picture: Picture::Screen })
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
    let page = state.latent_view.page.as_deref().filter(|page| Some(page.latent) == state.latent);
    let texts: Vec<(String, &[Example])> = match (page, detail) {
        (Some(page), _) => {
            let of = [Variant::Original, state.latent_view.beside];
            let variants = page.variants.iter().filter(|(variant, _)| of.contains(variant));
            let title = |variant: Variant| match variant {
                // The corpus is read anew where the knob rests: until then it is of where it stood before.
                Variant::Pruned => format!("Texts on pruned at {}", page.setting),
                _ => format!("Texts on {variant}"),
            };
            variants.map(|(variant, corpus)| (title(*variant), corpus.texts.top.as_slice())).collect()
        }
        (None, Some(detail)) => vec![("Texts on the original model".to_owned(), detail.examples.as_slice())],
        (None, None) => Vec::new(),
    };
    let edits: Vec<String> = state.edits.list.iter().map(|edit| format!("#{edit}")).collect();
    let mut settings = vec![
        ("model", info.model.clone()),
        ("compression", info.compression.clone()),
        ("SAE", format!("{} with {} latents", info.sae, info.d_sae)),
        ("hook", info.hook.clone()),
        ("activations", info.space.clone()),
        ("the SAE compressed alike", format!("{}, {}", comparison.setting, comparison.setting.knob.meaning())),
        ("edits, of predictions alone", if edits.is_empty() { "none".into() } else { edits.join(", ") }),
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
        whole: state.table.whole,
        pair: pair(state),
        detail,
        texts,
        predictions: state.predictions.current(&predicted(state)),
    };
    Some(Document { extension: "html".into(), text: view.html() })
}
