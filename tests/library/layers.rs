//! Sessions of several layers: what a layer shows is what a session of that layer alone shows.

use std::{path::Path, sync::Arc};

use prunelens::engine::{Command, JobSpec, JobState, Query, Report, Request, SessionInfo};
use prunelens_core::{
    compare::{Comparison, LayerFigures, Prompt, Variant},
    demo,
    sae::{Criterion, Knob, Setting},
    session::{Compress, Session, SessionSpec, Source, silent},
};
use prunelens_metrics::{MetricTable, ParamValue};

use crate::{
    loaded::Loaded,
    support::{
        demo_spec,
        layered::{self, LAYERS},
    },
};

const PROMPT: &str = "The army and the navy of the United States are";
const SETTING: Setting = Setting { knob: Knob::Ratio(Criterion::Magnitude), at: 0.4 };

struct Engine {
    loaded: Loaded,
    generation: u64,
}

impl Engine {
    fn load(spec: SessionSpec) -> Self {
        Self { loaded: Loaded::load(spec), generation: 0 }
    }

    fn open(&mut self, spec: SessionSpec) -> Result<Arc<SessionInfo>, String> {
        self.loaded.handle.command(Command::Open(Box::new(spec.clone())));
        self.loaded.until(|report| match report {
            Report::Opened { info, spec: opened } => {
                assert_eq!(*opened, spec);
                Some(Ok(info))
            }
            Report::OpenFailed(why) => Some(Err(why)),
            _ => None,
        })
    }

    fn compare(&mut self) -> Arc<Comparison> {
        self.generation += 1;
        let wanted = self.generation;
        self.loaded
            .handle
            .request(Request { generation: wanted, query: Query::Compare { text: PROMPT.into(), setting: SETTING } });
        self.loaded.until(|report| match report {
            Report::Comparison { generation, comparison, complete: true } if generation == wanted => Some(comparison),
            Report::RequestFailed { message, .. } => panic!("{message}"),
            _ => None,
        })
    }

    /// All rows of the strip, in the order in which they came.
    fn strip(&mut self, setting: Setting) -> Vec<(usize, Result<Arc<LayerFigures>, String>)> {
        self.generation += 1;
        let (wanted, mut rows) = (self.generation, Vec::new());
        let prompt = Some((PROMPT.to_owned(), setting));
        self.loaded.handle.request(Request { generation: wanted, query: Query::Layers { prompt } });
        self.loaded.until(|report| match report {
            Report::Layer { generation, layer, figures } if generation == wanted => {
                rows.push((layer, figures));
                None
            }
            Report::Layers { generation } => (generation == wanted).then_some(()),
            _ => None,
        });
        rows
    }
}

/// What a session of one layer shows.
fn alone(folder: &Path, layer: usize, setting: Setting) -> Comparison {
    shown(&layered::alone(folder, layer), setting)
}

/// What a session shows.
fn shown(spec: &SessionSpec, setting: Setting) -> Comparison {
    let session = Session::load(spec, &mut silent).unwrap();
    session.order(setting.knob, &mut || Ok(())).unwrap();
    let readers = session.readers(setting).unwrap();
    let tick = &mut || Ok(());
    let mut prompt = Prompt::read(PROMPT, session.tokens(PROMPT).unwrap(), readers, setting, tick).unwrap();
    prompt.reconstruct(tick).unwrap();
    while prompt.splice_next(tick).unwrap() {}
    prompt.comparison(None)
}

/// Everything but paths and matches, bit for bit.
fn assert_same(a: &Comparison, b: &Comparison) {
    assert_eq!((&a.hook, a.setting, &a.tokens), (&b.hook, b.setting, &b.tokens));
    assert_eq!(a.views.len(), b.views.len());
    for (a, b) in a.views.iter().zip(&b.views) {
        assert_eq!((a.variant, &a.latents), (b.variant, &b.latents));
        assert_eq!((a.reconstruction, a.splice), (b.reconstruction, b.splice), "{}", a.variant);
    }
}

#[test]
fn a_layer_shows_what_it_shows_alone_whatever_was_on_screen_before() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    // The second time nothing is kept: every layer is loaded anew.
    for kept_memory in [1 << 30, 0] {
        let spec = SessionSpec { kept_memory, ..layered::spec(folder.path()) };
        let mut engine = Engine::load(spec.at_layer(1));
        let expected: Vec<Comparison> = LAYERS.iter().map(|layer| alone(folder.path(), *layer, SETTING)).collect();
        for at in [1, 2, 1, 0, 2, 0] {
            let info = engine.open(spec.at_layer(LAYERS[at])).unwrap();
            assert_eq!((info.layer, &info.layers[..]), (LAYERS[at], &LAYERS[..]));
            assert_same(&engine.compare(), &expected[at]);
        }
    }
}

#[test]
fn a_copy_shows_what_it_shows_alone_whatever_was_on_screen_before() {
    let copies: Vec<Compress> = ["wanda:0.5", "rtn:int4:g16", "wanda:heads:0.25"].map(|c| c.parse().unwrap()).to_vec();
    // Some rows to calibrate on, of those that there are: every copy is made six times here.
    let folder = tempfile::tempdir().unwrap();
    let calibration = folder.path().join("calibration.txt");
    std::fs::write(&calibration, &demo::calibration().unwrap().join("\n")[..10_000]).unwrap();
    let spec = SessionSpec { calibration: Some(calibration), ..demo_spec() };
    let alone: Vec<Comparison> = copies
        .iter()
        .enumerate()
        .map(|(at, copy)| {
            // What was trained, was trained on the first.
            let trained_sae = (at == 0).then_some(Source::Demo);
            shown(&SessionSpec { compress: copy.clone(), trained_sae, ..spec.clone() }, SETTING)
        })
        .collect();
    assert_ne!(alone[0].views[1].latents, alone[1].views[1].latents);
    for kept_memory in [1 << 30, 0] {
        let spec = SessionSpec { compressions: copies.clone(), kept_memory, ..spec.clone() };
        let mut engine = Engine::load(spec.clone());
        assert_same(&engine.compare(), &alone[0]);
        for at in [1, 0, 2, 1, 0] {
            let info = engine.open(spec.at_copy(&copies[at])).unwrap();
            assert_eq!(info.variants.contains(&Variant::Trained), at == 0);
            assert_same(&engine.compare(), &alone[at]);
        }
    }
}

#[test]
fn a_layer_that_was_not_named_keeps_what_joined_it() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    for kept_memory in [1 << 30, 0] {
        let spec = SessionSpec { kept_memory, trained_sae: None, ..layered::spec(folder.path()) };
        assert_eq!(spec.layer, None);
        let mut engine = Engine::load(spec.clone());
        let first = LAYERS[0];
        engine.loaded.handle.command(Command::Join(folder.path().join(format!("l{first}"))));
        engine.loaded.until(|report| match report {
            Report::Joined { info, asked } => {
                assert!(asked && info.variants.contains(&Variant::Trained));
                Some(())
            }
            Report::NotJoined(why) => panic!("{why}"),
            _ => None,
        });
        engine.open(spec.at_layer(LAYERS[1])).unwrap();
        assert!(engine.open(spec.at_layer(first)).unwrap().variants.contains(&Variant::Trained), "{kept_memory}");
    }
}

#[test]
fn the_strip_has_what_each_layer_shows() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    let mut engine = Engine::load(layered::spec(folder.path()));
    for setting in [SETTING, Setting { at: 0.8, ..SETTING }, Knob::Bits.at(3.0), SETTING] {
        let mut rows = engine.strip(setting);
        rows.sort_by_key(|(layer, _)| *layer);
        assert_eq!(rows.iter().map(|(layer, _)| *layer).collect::<Vec<_>>(), LAYERS);
        for (layer, row) in rows {
            let (row, all) = (row.unwrap(), alone(folder.path(), layer, setting));
            assert_eq!((row.layer, &row.hook, row.setting), (layer, &all.hook, setting));
            assert_eq!(row.variants.len(), all.views.len());
            for view in &all.views {
                let figures = row.of(view.variant).unwrap();
                let (fits, put) = (view.reconstruction.unwrap(), view.splice.unwrap());
                assert_eq!((figures.explained_variance, figures.l0), (fits.explained_variance, fits.l0));
                assert_eq!((figures.ce, figures.kl), (put.ce_loss_with_sae, put.kl_div_with_sae), "{}", view.variant);
            }
            let fates = all.fates().unwrap();
            assert_eq!(row.active, fates.original);
            assert_eq!(row.of(Variant::Original).unwrap().survive, Some(fates.original));
            let survive = row.of(Variant::Transfer).unwrap().survive;
            assert_eq!(survive, Some(fates.original - fates.lost_to_model));
            let pruned = row.of(Variant::Pruned).unwrap().survive.unwrap();
            assert!(pruned <= fates.original && pruned <= fates.pruned);
            assert_eq!(row.of(Variant::Trained).and_then(|of| of.survive), None);
        }
    }
}

#[test]
fn a_session_that_cannot_be_opened_leaves_the_one_there_is() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    let spec = layered::spec(folder.path());
    let mut engine = Engine::load(spec.clone());
    let before = engine.compare();
    let missing = SessionSpec { model: Source::Path("nowhere".into()), ..spec.clone() };
    assert!(engine.open(missing).unwrap_err().contains("nowhere"));
    let error = engine.open(spec.at_layer(2)).unwrap_err();
    assert!(error.contains("--layer 2: there is no SAE of that layer") && error.contains("0-1, 3"), "{error}");
    // An SAE that reads another layer than its name says.
    std::fs::rename(folder.path().join("l3"), folder.path().join("l2")).unwrap();
    let error = engine.open(spec.at_layer(2)).unwrap_err();
    assert!(error.contains("the SAE of layer 2") && error.contains("reads blocks.3."), "{error}");
    let rows = engine.strip(SETTING);
    assert!(rows.iter().any(|(layer, row)| *layer == 3 && row.is_err()), "{rows:?}");
    assert_same(&engine.compare(), &before);
}

#[test]
fn another_compression_of_the_model_is_what_it_is_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    let mut engine = Engine::load(layered::alone(folder.path(), 1));
    let other = SessionSpec { compress: "magnitude:0.3".parse().unwrap(), ..layered::alone(folder.path(), 1) };
    let info = engine.open(other.clone()).unwrap();
    assert_eq!(info.compression, "magnitude 30%");
    let shown = engine.compare();
    drop(engine);
    assert_same(&Engine::load(other).compare(), &shown);
}

#[test]
fn what_is_opened_answers_while_another_session_is_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    let spec = layered::spec(folder.path());
    let mut engine = Engine::load(spec.clone());
    let other = SessionSpec { compress: "wanda:0.3".parse().unwrap(), ..spec };
    engine.loaded.handle.command(Command::Open(Box::new(other.clone())));
    engine.loaded.until(|report| matches!(report, Report::Opening(_)).then_some(()));
    engine.generation += 1;
    let wanted = engine.generation;
    engine
        .loaded
        .handle
        .request(Request { generation: wanted, query: Query::Compare { text: PROMPT.into(), setting: SETTING } });
    engine.loaded.until(|report| match report {
        Report::Comparison { generation, .. } if generation == wanted => Some(()),
        Report::Opened { .. } => panic!("it was opened before the prompt was answered"),
        _ => None,
    });
    // Stopped, it does not come; what was there is still there.
    engine.loaded.handle.command(Command::StopOpening);
    let before = engine.compare();
    assert_same(&before, &alone(folder.path(), 0, SETTING));
}

#[test]
fn a_job_goes_on_where_it_was_started() {
    let folder = tempfile::tempdir().unwrap();
    layered::save(folder.path());
    let results = folder.path().join("results");
    let spec = SessionSpec { results, ..layered::spec(folder.path()) };
    let measured = |engine: &mut Engine| -> Arc<MetricTable> {
        let mut last = None;
        engine.loaded.until(|report| match report {
            Report::JobTable { table, .. } => {
                last = Some(table);
                None
            }
            Report::Job { state: JobState::Done { .. }, .. } => last.take(),
            Report::Job { state: JobState::Failed(why), .. } => panic!("{why}"),
            _ => None,
        })
    };
    let mut job = JobSpec::new("core");
    job.params.set("rows", ParamValue::Number(4.0));
    let mut engine = Engine::load(spec.at_layer(1));
    let start = |engine: &Engine, id| {
        let (job, of) = (job.clone(), engine.loaded.of.clone());
        engine.loaded.handle.command(Command::StartJob { id, job, of, anew: false });
    };
    start(&engine, 1);
    let expected = measured(&mut engine);
    start(&engine, 2);
    engine.loaded.until(|report| matches!(report, Report::Job { state: JobState::Queued, .. }).then_some(()));
    engine.loaded.handle.command(Command::Open(Box::new(spec.at_layer(3))));
    let table = measured(&mut engine);
    assert_eq!((&table.rows, &table.settings), (&expected.rows, &expected.settings));
}
