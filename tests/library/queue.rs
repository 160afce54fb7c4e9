//! The engine's queue, with jobs made for the purpose: order, pauses, failures, memory, checkpoints, results.

mod counting;
mod driven;

use std::{fs, sync::Arc};

use prunelens::engine::{Command, JobId, JobState, Query, Report, Request};
use prunelens_core::{
    memory,
    sae::{Criterion, Knob},
    session::{DeviceSpec, SessionSpec},
};
use prunelens_metrics::{JobSpec, ParamValue};

use crate::support::{Place, demo_spec};

pub use self::driven::{Engine, spec};
use self::{counting::*, driven::*};

#[test]
fn jobs_go_one_after_another_in_their_order() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    for (id, to) in [(1, 60), (2, 5), (3, 6)] {
        engine.start_job(id, count(to));
    }
    engine.handle.command(Command::MoveJob { id: 3, earlier: true });
    let mut ended = Vec::new();
    engine.until(|report| {
        if let Report::Job { id, state: JobState::Done { .. } } = report {
            ended.push(*id);
        }
        (ended.len() == 3).then_some(())
    });
    assert_eq!(ended, [1, 3, 2]);
    for to in [60, 5, 6] {
        assert_eq!(result(&place, &format!("count-{to}-8.txt")), sum(to));
    }
    assert!(checkpoints(&place).is_empty(), "{:?}", checkpoints(&place));
}

#[test]
fn a_paused_job_lets_others_go_first_and_goes_on() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(3000));
    engine.state(1, runs);
    engine.start_job(2, count(5));
    engine.handle.command(Command::PauseJob(1));
    let JobState::Paused(share) = engine.state(1, |s| matches!(s, JobState::Paused(_))) else { panic!() };
    assert!(share < 1.0);
    engine.done(2);
    assert_eq!(checkpoints(&place).len(), 2, "a checkpoint and its lock: {:?}", checkpoints(&place));
    engine.handle.command(Command::ResumeJob(1));
    engine.state(1, runs);
    engine.handle.command(Command::CancelJob(1));
    engine.state(1, |s| *s == JobState::Cancelled);
    assert!(checkpoints(&place).is_empty(), "nothing is left of a cancelled job");
    assert!(!place.path("results/count-3000-8.txt").exists());
}

#[test]
fn the_person_and_other_commands_are_served_within_a_step() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, JobSpec::new("endless"));
    let (text, setting) = ("The army and the navy".into(), Knob::Ratio(Criterion::Magnitude).at(0.25));
    engine.handle.request(Request { generation: 1, query: Query::Compare { text, setting } });
    engine.until(|report| matches!(report, Report::Comparison { generation: 1, .. }).then_some(()));
    engine.start_job(2, count(5));
    engine.state(2, |s| *s == JobState::Queued);
    engine.handle.request(Request { generation: 2, query: Query::Estimate { job: count(5) } });
    let estimate = engine.until(|report| match report {
        Report::Estimate { generation: 2, estimate } => Some(estimate.clone()),
        _ => None,
    });
    let estimate = estimate.unwrap();
    assert_eq!((estimate.tokens, estimate.passes), (40, 2.0));
    assert!(estimate.seconds.is_some_and(|s| s > 0.0 && s < 60.0), "{estimate:?}");
    engine.handle.request(Request { generation: 3, query: Query::Estimate { job: JobSpec::new("cuont") } });
    let why = engine.until(|report| match report {
        Report::Estimate { generation: 3, estimate: Err(why) } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("cuont") && why.contains("endless"), "{why}");
    engine.handle.command(Command::PauseJob(1));
    engine.done(2);
}

#[test]
fn a_failure_stays_with_its_job() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(20).with("fails-at", ParamValue::Number(10.0)));
    engine.start_job(2, JobSpec::new("count").with("nonsense", ParamValue::Number(1.0)));
    engine.start_job(3, count(5));
    let failed = |s: &JobState| matches!(s, JobState::Failed(_));
    assert_eq!(engine.state(1, failed), JobState::Failed("the text holds no row".into()));
    let JobState::Failed(why) = engine.state(2, failed) else { panic!() };
    assert!(why.contains("nonsense"), "{why}");
    engine.done(3);
}

#[test]
fn a_job_that_runs_out_of_memory_takes_less_at_a_time() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    let remark = |engine: &mut Engine, id| {
        engine.until(|report| match report {
            Report::JobRemark { id: of, text } if *of == id => Some(text.clone()),
            _ => None,
        })
    };
    engine.start_job(1, count(20).with("fits", ParamValue::Number(2.0)));
    assert_eq!(remark(&mut engine, 1), "memory ran out: begun anew with a batch of 4");
    assert_eq!(remark(&mut engine, 1), "memory ran out: begun anew with a batch of 2");
    engine.done(1);
    assert_eq!(result(&place, "count-20-2.txt"), sum(20));

    if demo_spec().device != DeviceSpec::Cpu {
        // A GPU's jobs find out by trying, as the first one did.
        return;
    }
    // Known before the start: what is free holds one and a half of eight parts.
    let part = memory::free().unwrap() / 8 * 5 / (1 << 20);
    engine.start_job(2, count(20).with("mebibytes", ParamValue::Number(part as f64 / 2.0).clone().rounded()));
    let text = remark(&mut engine, 2);
    assert!(text.starts_with("batch halved to ") && text.contains("free"), "{text}");
    engine.done(2);

    // Nothing left to halve.
    engine.start_job(3, count(20).with("fits", ParamValue::Number(0.0)));
    engine.start_job(4, count(20).with("mebibytes", ParamValue::Number((1u64 << 35) as f64)));
    let failed = |s: &JobState| matches!(s, JobState::Failed(_));
    let JobState::Failed(why) = engine.state(3, failed) else { panic!() };
    assert!(why.contains("OUT_OF_MEMORY"), "{why}");
    let JobState::Failed(why) = engine.state(4, failed) else { panic!() };
    assert!(why.contains("choose less at a time"), "{why}");
}

trait Rounded {
    fn rounded(self) -> Self;
}

impl Rounded for ParamValue {
    fn rounded(self) -> Self {
        if let Self::Number(x) = self { Self::Number(x.floor()) } else { self }
    }
}

#[test]
fn what_quitting_interrupts_goes_on_to_the_same_end() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(400));
    engine.start_job(2, count(30));
    engine.state(1, runs);
    let reports = engine.quit();
    let state = |id| {
        reports.iter().find_map(|r| match r {
            Report::Job { id: of, state: JobState::Interrupted(share) } if *of == id => Some(*share),
            _ => None,
        })
    };
    assert!(state(1).is_some_and(|share| share > 0.0 && share < 1.0) && state(2) == Some(0.0));

    let mut engine = Engine::on_demo(&place);
    engine.until(|report| matches!(report, Report::Unfinished(_)).then_some(()));
    let mut specs: Vec<_> =
        engine.unfinished.iter().map(|u| (u.spec.params.get::<usize>("to").unwrap().unwrap(), u.share)).collect();
    specs.sort_by_key(|(to, _)| *to);
    assert_eq!((specs.len(), specs[0]), (2, (30, 0.0)));
    assert_eq!((specs[1].0, Some(specs[1].1)), (400, state(1)));
    engine.start_job(5, count(400));
    let text = engine.until(|report| match report {
        Report::JobRemark { id: 5, text } => Some(text.clone()),
        _ => None,
    });
    assert!(text.starts_with("goes on from "), "{text}");
    engine.done(5);
    assert_eq!(result(&place, "count-400-8.txt"), sum(400));
    // The other is thrown away.
    engine.handle.command(Command::ForgetJob { job: count(30), of: engine.of.clone() });
    engine.quit();
    assert!(checkpoints(&place).is_empty(), "{:?}", checkpoints(&place));

    let mut engine = Engine::on_demo(&place);
    engine.until(|report| matches!(report, Report::Runs { .. }).then_some(()));
    assert_eq!(engine.runs.len(), 1);
    assert_eq!((&engine.runs[0].spec, engine.runs[0].table.progress), (&count(400), 1.0));
    assert!(engine.unfinished.is_empty());
}

#[test]
fn checkpoints_of_a_crash_and_broken_ones() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(2000));
    engine.state(1, runs);
    // As a crash leaves it: a copy of what is on disk in the middle of the work.
    let job = || checkpoints(&place).into_iter().find(|name| name.ends_with(".job"));
    let end = std::time::Instant::now() + DEADLINE;
    while job().is_none() {
        assert!(std::time::Instant::now() < end, "no checkpoint is written");
        std::thread::yield_now();
    }
    let path = place.path("state/jobs").join(job().unwrap());
    let crashed = fs::read(&path).unwrap();
    engine.handle.command(Command::CancelJob(1));
    engine.state(1, |s| *s == JobState::Cancelled);
    assert!(!path.exists());

    fs::write(&path, &crashed[..crashed.len() - 1]).unwrap();
    engine.start_job(2, count(2000));
    let text = engine.until(|report| match report {
        Report::JobRemark { id: 2, text } => Some(text.clone()),
        _ => None,
    });
    assert!(text.contains("begun anew") && text.contains("not a whole checkpoint"), "{text}");
    engine.handle.command(Command::CancelJob(2));
    engine.state(2, |s| *s == JobState::Cancelled);

    fs::write(&path, &crashed).unwrap();
    engine.start_job(3, count(2000));
    engine.done(3);
    assert_eq!(result(&place, "count-2000-8.txt"), sum(2000));
    engine.quit();

    // One that does not even say of what it is has no row, and is not passed over.
    fs::write(&path, &crashed[..30]).unwrap();
    let mut engine = Engine::on_demo(&place);
    let told = engine.until(|report| if let Report::Warning(text) = report { Some(text.clone()) } else { None });
    assert!(told.contains(&path.display().to_string()) && told.contains("saved state cannot be read"), "{told}");
}

#[test]
fn another_file_or_session_does_not_go_on() {
    let place = Place::new();
    let file = place.path("text.txt");
    fs::write(&file, "one").unwrap();
    let job = count(2000).with("file", ParamValue::Text(file.display().to_string()));
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, job.clone());
    engine.state(1, runs);
    engine.quit();
    fs::write(&file, "two").unwrap();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(2, count(5));
    engine.done(2);
    assert!(engine.unfinished.is_empty(), "the text is another one now");
    engine.quit();
    fs::write(&file, "one").unwrap();
    let mut engine = Engine::on_demo(&place);
    engine.until(|report| matches!(report, Report::Unfinished(_)).then_some(()));
    assert_eq!(engine.unfinished[0].spec, job);
}

#[test]
fn one_job_is_not_done_by_two_processes() {
    let place = Place::new();
    let mut first = Engine::on_demo(&place);
    first.start_job(1, count(3000));
    first.state(1, runs);
    let mut second = Engine::on_demo(&place);
    second.start_job(1, count(3000));
    second.start_job(2, count(5));
    let JobState::Failed(why) = second.state(1, |s| matches!(s, JobState::Failed(_))) else { panic!() };
    assert!(why.contains("another prunelens works on this very job"), "{why}");
    second.done(2);
    assert!(second.unfinished.is_empty(), "it is not offered while somebody works on it");
}

#[test]
fn a_job_is_never_measured_in_another_session_than_its_own() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    let of = Arc::new(SessionSpec { compress: "magnitude:0.5".parse().unwrap(), ..spec(&place) });
    engine.handle.command(Command::StartJob { id: 1, job: count(30), of, anew: false });
    let JobState::Failed(why) = engine.state(1, |_| true) else { panic!("it was queued") };
    assert!(why.contains("another session was opened meanwhile"), "{why}");
}

#[test]
fn what_was_measured_is_not_measured_again() {
    let place = Place::new();
    let mut engine = Engine::on_demo(&place);
    let start = |engine: &Engine, id, anew| {
        engine.start(id, count(300), anew);
    };
    // Whether it was worked on, and what was said of it.
    let end = |engine: &mut Engine, id: JobId| {
        let (mut worked, mut said, mut table) = (false, Vec::new(), None);
        let files = engine.until(|report| match report {
            Report::Job { id: of, state: JobState::Done { files, .. } } if *of == id => Some(files.clone()),
            Report::Job { id: of, state } if *of == id => {
                worked |= runs(state);
                None
            }
            Report::JobRemark { id: of, text } if *of == id => {
                said.push(text.clone());
                None
            }
            Report::JobTable { id: of, table: new, .. } if *of == id => {
                table = Some(new.clone());
                None
            }
            _ => None,
        });
        (worked, said.concat(), table.expect("figures"), files)
    };
    start(&engine, 1, false);
    let (worked, said, first, files) = end(&mut engine, 1);
    assert!(worked && said.is_empty(), "{said}");
    // With a default spelled out it is the same.
    engine.start(2, count(300).with("batch", ParamValue::Number(8.0)), false);
    let (worked, said, again, same) = end(&mut engine, 2);
    assert!(!worked && said.contains("measured already"), "{said}");
    assert_eq!((again, same), (first, files));
    start(&engine, 3, true);
    assert!(end(&mut engine, 3).0, "it was asked for");
    // Without its result there is nothing to take.
    fs::remove_file(place.path("results/count-300-8.txt")).unwrap();
    start(&engine, 4, false);
    assert!(end(&mut engine, 4).0);
    assert_eq!(result(&place, "count-300-8.txt"), sum(300));
    // What was begun anew and left goes on, and is not answered by the run before it.
    start(&engine, 5, true);
    engine.state(5, runs);
    engine.quit();
    let mut engine = Engine::on_demo(&place);
    start(&engine, 6, false);
    let (worked, said, ..) = end(&mut engine, 6);
    assert!(worked && said.contains("goes on from"), "{said}");
    assert!(checkpoints(&place).is_empty(), "{:?}", checkpoints(&place));
}

#[test]
fn results_that_cannot_be_written_are_not_lost() {
    let place = Place::new();
    fs::write(place.path("results"), "a file where the folder should be").unwrap();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(20));
    engine.start_job(2, count(21));
    let unwritten = |s: &JobState| matches!(s, JobState::Unwritten(_));
    let JobState::Unwritten(why) = engine.state(1, unwritten) else { panic!() };
    assert!(why.contains("results"), "{why}");
    engine.state(2, unwritten);
    // Here again, and then elsewhere.
    engine.handle.command(Command::WriteJob { id: 1, folder: None });
    engine.state(1, unwritten);
    let folder = place.path("elsewhere");
    engine.handle.command(Command::WriteJob { id: 1, folder: Some(folder.clone()) });
    engine.done(1);
    assert_eq!(fs::read_to_string(folder.join("count-20-8.txt")).unwrap(), sum(20));
    // Quitting does not lose the other: it is written as soon as it can be.
    engine.quit();
    fs::remove_file(place.path("results")).unwrap();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(3, count(21));
    engine.done(3);
    assert_eq!(result(&place, "count-21-8.txt"), sum(21));
}

#[test]
fn a_state_folder_that_cannot_be_written_stops_no_job() {
    let place = Place::new();
    fs::write(place.path("state"), "").unwrap();
    let mut engine = Engine::on_demo(&place);
    engine.start_job(1, count(20));
    let text = engine.until(|report| match report {
        Report::JobRemark { id: 1, text } => Some(text.clone()),
        _ => None,
    });
    assert!(text.contains("no checkpoints are kept"), "{text}");
    engine.done(1);
}
