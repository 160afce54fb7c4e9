//! An SAE trained as a job of the engine: what it leaves, what becomes of the session, and what a break changes.

use std::fs;

use prunelens::engine::{Command, JobState, Query, Report};
use prunelens_core::{
    compare::Variant,
    sae::{Criterion, Knob, formats},
    session::{Compress, SessionSpec},
    train::curve,
};
use prunelens_metrics::{JOBS, JobSpec, ParamValue};

use crate::{
    queue::{Engine, spec},
    support::Place,
};

const FOLDER: &str = "results/saes/blocks.1.hook_resid_post-topk4-64";

fn job(tokens: f64) -> JobSpec {
    let numbers = [("tokens", tokens), ("d_sae", 64.0), ("active", 4.0), ("batch", 256.0), ("context", 64.0)];
    numbers.into_iter().fold(JobSpec::new("train"), |job, (name, value)| job.with(name, ParamValue::Number(value)))
}

/// Until the session has the SAE.
fn joined(engine: &mut Engine) -> Vec<Variant> {
    engine.until(|report| match report {
        Report::Joined { info, .. } => Some(info.variants.clone()),
        Report::Job { state: JobState::Failed(why) | JobState::Unwritten(why), .. } => panic!("{why}"),
        _ => None,
    })
}

#[test]
fn what_is_trained_joins_the_session() {
    let place = Place::new();
    let mut engine = Engine::with(&place, JOBS);
    engine.start_job(1, job(6000.0));
    assert!(joined(&mut engine).contains(&Variant::Trained), "without a restart");
    let sae = formats::load(&place.path(FOLDER)).unwrap();
    assert_eq!((sae.config.d_sae, sae.config.hook.to_string()), (64, "blocks.1.hook_resid_post".into()));
    let reports = curve::read(&place.path(FOLDER));
    assert!(reports.len() > 10 && reports.last().unwrap().explained_variance > 0.1, "{reports:?}");

    // It answers from now on.
    let ask = prunelens::engine::Request {
        generation: 1,
        query: Query::Compare { text: "The army".into(), setting: Knob::Ratio(Criterion::Magnitude).at(0.25) },
    };
    engine.handle.request(ask);
    let variants: Vec<Variant> = engine.until(|report| match report {
        Report::Comparison { comparison, .. } => Some(comparison.views.iter().map(|view| view.variant).collect()),
        Report::RequestFailed { message, .. } => panic!("{message}"),
        _ => None,
    });
    assert_eq!(variants, Variant::ALL);

    // The same once more has a folder of its own.
    engine.start_job(2, job(6000.0));
    joined(&mut engine);
    let [first, second] =
        ["", "-2"].map(|end| fs::read(place.path(&format!("{FOLDER}{end}/sae_weights.safetensors"))).unwrap());
    assert_eq!(first, second);

    // Opened again the session is as it was, and what was trained in it is there at once.
    let again = Box::new(spec(&place));
    engine.handle.command(Command::Open(again));
    let opened = engine.until(|report| match report {
        Report::Opened { info, .. } => Some(info.variants.clone()),
        Report::OpenFailed(why) => panic!("{why}"),
        _ => None,
    });
    assert!(!opened.contains(&Variant::Trained), "{opened:?}");

    // A view that was saved with it asks for it by its folder.
    engine.handle.command(Command::Join(place.path("nowhere")));
    let why = engine.until(|report| if let Report::NotJoined(why) = report { Some(why.clone()) } else { None });
    assert!(why.contains("nowhere"), "{why}");
    engine.handle.command(Command::Join(place.path(FOLDER)));
    let info = engine.until(|report| if let Report::Joined { info, .. } = report { Some(info.clone()) } else { None });
    assert!(info.variants.contains(&Variant::Trained) && info.joined == Some(place.path(FOLDER)));
    engine.handle.command(Command::Open(Box::new(spec(&place))));
    engine.until(|report| matches!(report, Report::Opened { .. }).then_some(()));
    engine.start_job(3, job(6000.0));
    assert!(joined(&mut engine).contains(&Variant::Trained));
    assert!(!place.path(&format!("{FOLDER}-3")).exists(), "it was not trained again");

    // While a job runs, too, which goes on.
    engine.handle.command(Command::Open(Box::new(spec(&place))));
    engine.until(|report| matches!(report, Report::Opened { .. }).then_some(()));
    engine.start_anew(4, job(LONG));
    let running = |least: u64| {
        move |report: &Report| match report {
            Report::Job { state: JobState::Running { done, .. }, .. } => (*done >= least).then_some(()),
            _ => None,
        }
    };
    engine.until(running(2000));
    engine.handle.command(Command::Join(place.path(FOLDER)));
    assert!(joined(&mut engine).contains(&Variant::Trained));
    engine.until(running(6000));
}

/// Long enough for a command to come in between.
const LONG: f64 = 60_000.0;

#[test]
fn what_is_trained_on_one_copy_goes_on_beside_another_and_joins_its_own() {
    let place = Place::new();
    let copies: Vec<Compress> = ["none", "magnitude:0.5"].map(|copy| copy.parse().unwrap()).to_vec();
    for kept_memory in [1 << 30, 0] {
        let of = |at: usize| SessionSpec {
            compressions: copies.clone(),
            compress: copies[at].clone(),
            kept_memory,
            ..spec(&place)
        };
        let open = |engine: &mut Engine, at: usize| {
            engine.handle.command(Command::Open(Box::new(of(at))));
            engine.until(|report| match report {
                Report::Opened { info, .. } => Some(info.variants.contains(&Variant::Trained)),
                Report::OpenFailed(why) => panic!("{why}"),
                _ => None,
            })
        };
        let mut engine = Engine::of(of(0), &place, JOBS);
        let id = 1 + kept_memory.min(1);
        engine.start_anew(id, job(LONG));
        engine.until(|report| match report {
            Report::Job { state: JobState::Running { done, .. }, .. } => (*done >= 2000).then_some(()),
            _ => None,
        });
        assert!(!open(&mut engine, 1), "none was trained yet");
        let told = engine.until(|report| match report {
            Report::Joined { .. } => panic!("it was trained on the other copy"),
            Report::Job { state: JobState::Interrupted(_) | JobState::Failed(_), .. } => panic!("{report:?}"),
            Report::JoinedElsewhere(text) => Some(text.clone()),
            _ => None,
        });
        assert!(told.contains("(not compressed) from now on"), "{told}");
        assert!(open(&mut engine, 0), "there is its place");
        assert!(!open(&mut engine, 1));
    }
}

#[test]
fn a_training_that_is_broken_off_ends_with_the_same_bits() {
    let whole = Place::new();
    let mut engine = Engine::with(&whole, JOBS);
    engine.start_job(1, job(LONG));
    joined(&mut engine);

    let broken = Place::new();
    for least in [2000, 9000] {
        let mut engine = Engine::with(&broken, JOBS);
        engine.start_job(1, job(LONG));
        engine.until(|report| match report {
            Report::Job { state: JobState::Running { done, .. }, .. } => (*done >= least).then_some(()),
            _ => None,
        });
        assert!(
            !engine.quit().iter().any(|report| matches!(report, Report::Joined { .. })),
            "too fast to be broken off"
        );
    }
    let mut engine = Engine::with(&broken, JOBS);
    engine.start_job(1, job(LONG));
    joined(&mut engine);
    let [whole, broken] = [&whole, &broken].map(|place| place.path(FOLDER));
    let weights = |folder: &std::path::Path| fs::read(folder.join("sae_weights.safetensors")).unwrap();
    assert_eq!(weights(&whole), weights(&broken));
    let steps = |folder: &std::path::Path| curve::read(folder).iter().map(|report| report.step).collect::<Vec<_>>();
    assert_eq!(steps(&whole), steps(&broken));
}
