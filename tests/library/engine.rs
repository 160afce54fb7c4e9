//! The engine on the embedded demo: newest request first, jobs that let the user through, cancelling.

use std::sync::Arc;

use prunelens::engine::{Command, GenerateTask, JobSpec, JobState, Query, Report, Request};
use prunelens_core::{
    compare::{Comparison, Variant},
    edit::Edits,
    generate::{Choice, Continuation, Written},
    sae::{Criterion, Knob, Setting},
    session::{Session, SessionSpec},
};

use crate::{loaded::Loaded, support::demo_spec};

const KNOB: Knob = Knob::Ratio(Criterion::Wanda);
const PROMPT: &str = "The army and the navy of the United States are";

impl Loaded {
    /// With the demo loaded; results go to a folder of the test's own.
    fn on_demo(results: &std::path::Path) -> Self {
        Self::load(SessionSpec { results: results.to_path_buf(), ..demo_spec() })
    }

    fn compare(&mut self, generation: u64) -> Arc<Comparison> {
        let setting = KNOB.at(0.25);
        self.handle.request(Request { generation, query: Query::Compare { text: PROMPT.into(), setting } });
        self.complete(generation)
    }

    fn set_ratio(&self, generation: u64, ratio: f64) {
        self.handle.request(Request { generation, query: Query::Turn { setting: KNOB.at(ratio) } });
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

#[test]
fn a_prompt_is_answered_in_parts_and_the_ratio_is_reversible() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
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
    let mut engine = Loaded::on_demo(results.path());
    let first = engine.compare(1);
    let latents = |c: &Comparison, v| c.view(v).unwrap().latents.clone();
    let mut generation = 1;
    let mut turned = |engine: &mut Loaded, setting: Setting| {
        generation += 1;
        engine.handle.request(Request { generation, query: Query::Turn { setting } });
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
    let mut engine = Loaded::on_demo(results.path());
    engine.compare(1);
    for generation in 2..=60 {
        engine.set_ratio(generation, generation as f64 / 100.0);
    }
    assert_eq!(engine.complete(60).setting.at, 0.6);
}

#[test]
fn a_latent_is_shown_with_its_curve() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
    let comparison = engine.compare(1);
    let (latent, token) = (comparison.view(Variant::Transfer).unwrap().latents.row(4).0[0], 4);
    engine.handle.request(Request { generation: 2, query: Query::ShowLatent { latent, token, knob: KNOB } });
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
    let mut engine = Loaded::on_demo(results.path());
    engine.compare(1);
    let job = JobSpec::new("core");
    engine.handle.command(Command::StartJob { id: 7, job, of: engine.of.clone(), anew: false });
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
    let mut engine = Loaded::on_demo(results.path());
    let text = "word ".repeat(1000);
    engine.handle.request(Request { generation: 1, query: Query::Compare { text, setting: KNOB.at(0.25) } });
    let message = engine.until(|report| match report {
        Report::RequestFailed { generation: 1, message } => Some(message),
        _ => None,
    });
    assert!(message.contains("256"), "{message}");
    let missing = SessionSpec { model: prunelens_core::session::Source::Path("nowhere".into()), ..demo_spec() };
    engine.handle.command(Command::Load(Box::new(missing)));
    let why = engine.until(|report| match report {
        Report::LoadFailed(why) => Some(why),
        _ => None,
    });
    assert!(why.contains("nowhere"), "{why}");
}

fn task(most: usize, edits: &[&str]) -> GenerateTask {
    GenerateTask {
        text: PROMPT.into(),
        edits: Edits { list: edits.iter().map(|e| e.parse().unwrap()).collect(), ..Edits::default() },
        setting: KNOB.at(0.25),
        choice: Choice::GREEDY,
        most,
    }
}

#[test]
fn a_prompt_is_continued_by_both_models_and_with_edits() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
    let most = 8;
    engine
        .handle
        .request(Request { generation: 1, query: Query::Generate { task: Some(task(most, &["708=set:20@3.."])) } });
    let by = engine.until(|report| match report {
        Report::Generating { generation: 1, by } => Some(by),
        _ => None,
    });
    assert_eq!(by.len(), 5);
    let mut texts: Vec<Vec<u32>> = vec![Vec::new(); by.len()];
    let mut open = by.len();
    engine.until(|report| match report {
        Report::Generated { generation: 1, of, written, seconds } => {
            let at = by.iter().position(|writer| *writer == of).unwrap();
            match written {
                Written::Token(token, latents) => {
                    assert!(seconds > 0.0 && !latents.is_empty());
                    texts[at].push(token.id);
                }
                Written::Ended(_) => open -= 1,
            }
            (open == 0).then_some(())
        }
        _ => None,
    });
    // The same as without an engine, token for token.
    let session = Session::load(&demo_spec(), &mut |_| Ok(())).unwrap();
    let ids: Vec<u32> = session.tokens(PROMPT).unwrap().iter().map(|token| token.id).collect();
    for (model, text) in [&session.models.original, &session.models.pruned].into_iter().zip(&texts) {
        let mut alone = Continuation::new(model, None, &ids, &Choice::GREEDY, &mut || Ok(())).unwrap();
        let want: Vec<u32> = text.iter().map(|_| alone.next(&mut || Ok(())).unwrap()).collect();
        assert_eq!(*text, want);
    }
    assert_ne!(texts[0], texts[1], "half of the weights are gone");
    assert_ne!(texts[0], texts[2], "708 is set");
}

#[test]
fn the_person_is_served_between_two_tokens_and_can_stop() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
    engine.compare(1);
    engine.handle.request(Request { generation: 2, query: Query::Generate { task: Some(task(usize::MAX, &[])) } });
    let token = |report: Report| match report {
        Report::Generated { generation: 2, written: Written::Token(..), .. } => Some(()),
        Report::Generated { generation: 2, .. } => panic!("it has ended"),
        _ => None,
    };
    engine.until(token);
    engine.set_ratio(3, 0.5);
    // Answered whole, and the text then goes on.
    engine.complete(3);
    engine.until(token);
    engine.handle.request(Request { generation: 4, query: Query::Generate { task: None } });
    engine.set_ratio(5, 0.6);
    engine.complete(5);
    // Nothing of it is under way any more: what was sent before the stop is all there is.
    while let Ok(report) = engine.handle.reports.try_recv() {
        assert!(!matches!(report, Report::Generated { .. }), "{report:?}");
    }
    let refused = GenerateTask {
        edits: Edits { list: vec!["99999=ablate".parse().unwrap()], ..Edits::default() },
        ..task(4, &[])
    };
    engine.handle.request(Request { generation: 6, query: Query::Generate { task: Some(refused) } });
    let why = engine.until(|report| match report {
        Report::RequestFailed { generation: 6, message } => Some(message),
        _ => None,
    });
    assert!(why.contains("#99999"), "{why}");
}

#[test]
fn a_second_prompt_follows_the_ratio() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
    let first = engine.compare(1);
    let beside = |engine: &mut Loaded, wanted: u64, text: &str, ratio: f64| {
        let (text, setting) = (text.to_owned(), KNOB.at(ratio));
        engine.handle.request(Request { generation: wanted, query: Query::Beside { text, setting } });
        engine.until(|report| match report {
            Report::Beside { generation, comparison } if generation == wanted => Some(comparison),
            Report::RequestFailed { message, .. } => panic!("{message}"),
            _ => None,
        })
    };
    // The same text at the same ratio is the same.
    let same = beside(&mut engine, 2, PROMPT, 0.25);
    let latents = |c: &Comparison, v| c.view(v).unwrap().latents.clone();
    for variant in Variant::ALL {
        assert_eq!(latents(&same, variant), latents(&first, variant), "{variant}");
    }
    let pruned = beside(&mut engine, 3, PROMPT, 0.8);
    assert_ne!(latents(&pruned, Variant::Pruned), latents(&first, Variant::Pruned));
    assert_eq!(latents(&pruned, Variant::Transfer), latents(&first, Variant::Transfer));
    let other = beside(&mut engine, 4, "The navy", 0.25);
    assert_eq!(other.prompt, "The navy");
    // The first prompt is what it was.
    engine.set_ratio(5, 0.25);
    assert_eq!(engine.complete(5).prompt, PROMPT);
}

#[test]
fn the_corpus_is_read_again_at_another_ratio() {
    let results = tempfile::tempdir().unwrap();
    let mut engine = Loaded::on_demo(results.path());
    engine.until(|report| matches!(report, Report::Indexed).then_some(()));
    let mut page = |generation: u64, ratio: f64| {
        let setting = KNOB.at(ratio);
        engine.handle.request(Request { generation, query: Query::Page { latent: 708, setting } });
        engine.until(|report| match report {
            Report::Page { page, .. } if page.setting == setting => Some(page),
            _ => None,
        })
    };
    let (before, after, back) = (page(1, 0.25), page(2, 0.8), page(3, 0.25));
    let of = |page: &prunelens_core::index::LatentPage, variant| {
        let found = page.variants.iter().find(|(of, _)| *of == variant);
        found.map(|(_, corpus)| (corpus.fires, corpus.max, corpus.histogram.clone())).unwrap()
    };
    for variant in [Variant::Original, Variant::Transfer] {
        assert_eq!(of(&before, variant), of(&after, variant), "{variant}");
    }
    assert_ne!(of(&before, Variant::Pruned), of(&after, Variant::Pruned));
    assert_eq!(of(&before, Variant::Pruned), of(&back, Variant::Pruned));
    assert_eq!((before.tokens, before.rows), (after.tokens, after.rows));
}
