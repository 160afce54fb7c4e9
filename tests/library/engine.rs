//! The engine on the embedded demo: newest request first, jobs that let the user through, cancelling.

use std::{sync::Arc, time::Duration};

use prunelens::engine::{self, Command, EngineHandle, JobSpec, JobState, Report, Request};
use prunelens_core::{
    compare::{Comparison, Variant},
    sae::{Criterion, Knob, Setting},
    session::SessionSpec,
};

/// Far beyond what any step takes; reached only when an answer never comes.
const DEADLINE: Duration = Duration::from_secs(300);
const KNOB: Knob = Knob::Ratio(Criterion::Wanda);
const PROMPT: &str = "The army and the navy of the United States are";

struct Engine {
    handle: EngineHandle,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    /// With the demo loaded; results go to a folder of the test's own.
    fn on_demo(results: &std::path::Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut engine = Self { handle: engine::start().unwrap(), runtime };
        let spec = SessionSpec { results: results.to_path_buf(), ..SessionSpec::demo() };
        engine.handle.command(Command::Load(Box::new(spec)));
        engine.until(|report| match report {
            Report::Ready(info) => Some(info),
            Report::LoadFailed(why) => panic!("{why}"),
            _ => None,
        });
        engine
    }

    /// The first report that is wanted.
    fn until<T>(&mut self, mut wanted: impl FnMut(Report) -> Option<T>) -> T {
        let reports = &mut self.handle.reports;
        self.runtime.block_on(async {
            loop {
                let report = tokio::time::timeout(DEADLINE, reports.recv()).await.expect("no answer in time");
                if let Some(found) = wanted(report.expect("the engine is gone")) {
                    return found;
                }
            }
        })
    }

    fn compare(&mut self, generation: u64) -> Arc<Comparison> {
        let setting = KNOB.at(0.25);
        self.handle.request(Request::Compare { generation, text: PROMPT.into(), setting });
        self.complete(generation)
    }

    fn set_ratio(&self, generation: u64, ratio: f64) {
        self.handle.request(Request::Turn { generation, setting: KNOB.at(ratio) });
    }

    /// The complete answer to a request.
    fn complete(&mut self, wanted: u64) -> Arc<Comparison> {
        self.until(|report| match report {
            Report::Comparison { generation, comparison, complete: true } if generation == wanted => Some(comparison),
            Report::RequestFailed { message, .. } => panic!("{message}"),
            _ => None,
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.command(Command::Quit);
    }
}

#[test]
fn a_prompt_is_answered_in_parts_and_the_ratio_is_reversible() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    let first = engine.compare(1);
    assert_eq!(first.views.len(), 4);
    assert!(first.views.iter().all(|v| v.reconstruction.is_some() && v.splice.is_some()));
    assert!(first.paths.is_some());
    engine.set_ratio(2, 0.8);
    let pruned = engine.complete(2);
    engine.set_ratio(3, 0.25);
    let back = engine.complete(3);
    let latents = |c: &Comparison, v| c.view(v).unwrap().latents.clone();
    assert_ne!(latents(&pruned, Variant::Pruned), latents(&first, Variant::Pruned));
    assert_eq!(latents(&back, Variant::Pruned), latents(&first, Variant::Pruned));
    assert_eq!(latents(&pruned, Variant::Transfer), latents(&first, Variant::Transfer));
    engine.set_ratio(4, 0.0);
    let untouched = engine.complete(4);
    assert_eq!(latents(&untouched, Variant::Pruned), latents(&first, Variant::Transfer));
}

#[test]
fn every_knob_is_answered_and_reversible() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    let first = engine.compare(1);
    let latents = |c: &Comparison, v| c.view(v).unwrap().latents.clone();
    let mut generation = 1;
    let mut turned = |engine: &mut Engine, setting: Setting| {
        generation += 1;
        engine.handle.request(Request::Turn { generation, setting });
        engine.complete(generation)
    };
    for knob in [Knob::Bits, Knob::Rank, Knob::Latents(Criterion::Wanda)] {
        // The width of what the demo's SAE reads.
        let scale = knob.scale(192);
        let untouched = turned(&mut engine, knob.at(scale.untouched()));
        assert_eq!(latents(&untouched, Variant::Pruned), latents(&first, Variant::Transfer), "{knob}");
        let middle = turned(&mut engine, knob.at(scale.start()));
        assert_ne!(latents(&middle, Variant::Pruned), latents(&untouched, Variant::Pruned), "{knob}");
        let paths = middle.paths.clone().unwrap();
        assert_eq!((paths.knob, paths.grid.clone()), (knob, scale.grid()));
        turned(&mut engine, knob.at(scale.moved(scale.start(), 2, false)));
        let back = turned(&mut engine, knob.at(scale.start()));
        assert_eq!(latents(&back, Variant::Pruned), latents(&middle, Variant::Pruned), "{knob}");
    }
    let back = turned(&mut engine, KNOB.at(0.25));
    assert_eq!(latents(&back, Variant::Pruned), latents(&first, Variant::Pruned));
}

#[test]
fn of_many_ratios_the_last_is_answered() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    engine.compare(1);
    for generation in 2..=60 {
        engine.set_ratio(generation, generation as f64 / 100.0);
    }
    assert_eq!(engine.complete(60).setting.at, 0.6);
}

#[test]
fn a_latent_is_shown_with_its_curve() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    let comparison = engine.compare(1);
    let (latent, token) = (comparison.view(Variant::Transfer).unwrap().latents.row(4).0[0], 4);
    engine.handle.request(Request::ShowLatent { generation: 2, latent, token, knob: KNOB });
    let detail = engine.until(|report| match report {
        Report::Latent { generation: 2, detail } => Some(detail),
        _ => None,
    });
    assert_eq!((detail.latent, detail.token, detail.curve.len()), (latent, token, 100));
    let at_zero = comparison.view(Variant::Transfer).unwrap().latents.get(token, latent);
    assert!((detail.curve[0].1 - at_zero).abs() < 1e-4);
    assert!(!detail.promotes.is_empty() && !detail.suppresses.is_empty());
}

#[test]
fn a_job_lets_the_person_through_and_ends_when_cancelled() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    engine.compare(1);
    let job = JobSpec::new("core");
    engine.handle.command(Command::StartJob { id: 7, job });
    engine.until(|report| matches!(report, Report::Job { id: 7, state: JobState::Running { .. } }).then_some(()));
    engine.set_ratio(2, 0.5);
    let mut done = false;
    engine.until(|report| match report {
        Report::Job { id: 7, state: JobState::Done { .. } } => {
            done = true;
            None
        }
        Report::Comparison { generation: 2, .. } => Some(()),
        _ => None,
    });
    assert!(!done, "the job was not interrupted for the person");
    engine.handle.command(Command::CancelJob(7));
    engine.until(|report| match report {
        Report::Job { id: 7, state: JobState::Cancelled } => Some(()),
        Report::Job { id: 7, state: JobState::Done { .. } } => panic!("the job ran on"),
        _ => None,
    });
    assert_eq!(std::fs::read_dir(results.path()).unwrap().count(), 0, "a cancelled job leaves no files");
}

#[test]
fn what_cannot_be_read_is_said() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Engine::on_demo(results.path());
    let text = "word ".repeat(1000);
    engine.handle.request(Request::Compare { generation: 1, text, setting: KNOB.at(0.25) });
    let message = engine.until(|report| match report {
        Report::RequestFailed { generation: 1, message } => Some(message),
        _ => None,
    });
    assert!(message.contains("256"), "{message}");
    let missing = SessionSpec { model: prunelens_core::session::Source::Path("nowhere".into()), ..SessionSpec::demo() };
    engine.handle.command(Command::Load(Box::new(missing)));
    let why = engine.until(|report| match report {
        Report::LoadFailed(why) => Some(why),
        _ => None,
    });
    assert!(why.contains("nowhere"), "{why}");
}
