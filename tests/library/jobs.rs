//! The core metric as a job on the demo: steps, figures on the way, files, and what it refuses.

use std::fs;

use prunelens_core::{
    compare::Variant,
    sae::Criterion,
    session::{Compress, DeviceSpec, Session, SessionSpec},
};
use prunelens_metrics::{
    Job, Metric, Step,
    core::{CoreJob, CoreOptions},
};
use serde_json::Value;

use crate::support::{demo_spec, finish, session};

/// A small job.
fn options() -> CoreOptions {
    CoreOptions { rows: Some(5), context: Some(24), batch: Some(2), ..CoreOptions::default() }
}

#[test]
fn a_job_from_start_to_files() {
    let session = session(demo_spec());
    let results = tempfile::tempdir().unwrap();
    let mut job = CoreJob::new(&session, &options()).unwrap();
    assert!(job.finish(results.path()).is_err(), "not finished yet");

    let (mut tables, mut last) = (0, 0);
    while job.step(&mut || Ok(())).unwrap() == Step::More {
        let (progress, table) = (job.progress(), job.table());
        assert!(progress.done >= last && progress.total == 4 * 24 && progress.unit == "tokens");
        assert_eq!(table.variants, Variant::ALL);
        assert!((table.progress - progress.done as f64 / progress.total as f64).abs() < 1e-12);
        (tables, last) = (tables + 1, progress.done);
    }
    assert!(tables >= 4, "figures come on the way");

    let files = job.finish(results.path()).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(fs::read_dir(results.path().join("core")).unwrap().count(), 4, "{names:?}");
    for (variant, name) in Variant::ALL.iter().zip(&names) {
        assert!(name.contains(variant.name()), "{name}");
    }
    assert!(names[2].contains("wanda-0.25"), "{}", names[2]);

    // The files hold what the table shows.
    let table = job.table();
    let score = table.rows.iter().find(|r| r.name == "ce_loss_score").unwrap();
    let mut ids = Vec::new();
    for (file, shown) in files.iter().zip(&score.values) {
        let file: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let written = file["eval_result_metrics"]["model_performance_preservation"]["ce_loss_score"].as_f64();
        // JSON numbers come back to the last digit but one.
        assert!((written.unwrap() - shown.unwrap()).abs() < 1e-12);
        assert_eq!(file["eval_config"]["batch_size_prompts"], 2);
        assert_eq!(file["eval_config"]["n_eval_reconstruction_batches"], 2);
        ids.push(file["eval_id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one run, one id");
}

#[test]
fn a_job_taken_up_again_gives_the_same_bits() {
    let session = session(demo_spec());
    let mut whole = CoreJob::new(&session, &options()).unwrap();
    let results = tempfile::tempdir().unwrap();
    let metrics = |files: Vec<Value>| files.into_iter().map(|f| f["eval_result_metrics"].clone()).collect::<Vec<_>>();
    let expected = metrics(finish(&mut whole, results.path()).unwrap());
    // Thrown away and taken up after every step.
    let mut state: Option<Vec<u8>> = None;
    let found: Vec<Value> = loop {
        let mut job = CoreJob::new(&session, &options()).unwrap();
        if let Some(state) = &state {
            job.restore(state).unwrap();
        }
        for _ in 0..3 {
            job.step(&mut || Ok(())).unwrap();
        }
        if job.step(&mut || Ok(())).unwrap() == Step::Done {
            break metrics(finish(&mut job, results.path()).unwrap());
        }
        state = Some(job.state().unwrap());
    };
    assert_eq!(found, expected);
    let mut other = CoreJob::new(&session, &CoreOptions { variants: vec![Variant::Original], ..options() }).unwrap();
    assert!(other.restore(&state.unwrap()).unwrap_err().to_string().contains("another core run"));
    assert!(other.restore(&[1, 2, 3]).unwrap_err().to_string().contains("start it anew"));
}

#[test]
fn choices_and_refusals() {
    // Nothing that needs calibration: quick to load.
    let session = session(SessionSpec {
        trained_sae: None,
        compress: Compress::Magnitude(0.5),
        criterion: Criterion::Magnitude,
        ..demo_spec()
    });
    let results = tempfile::tempdir().unwrap();
    let job = |options| CoreJob::new(&session, &options);
    let refused = |options| job(options).err().unwrap().to_string();

    // Another ratio is another file, and says so.
    let pruned = |ratio| CoreOptions {
        variants: vec![Variant::Pruned],
        ratio: Some(ratio),
        criterion: Some(Criterion::Magnitude),
        ..options()
    };
    for ratio in [0.0, 0.5] {
        let files = finish(&mut job(pruned(ratio)).unwrap(), results.path()).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0]["eval_config"]["model_name"], "demo (magnitude:0.5)");
    }
    assert_eq!(fs::read_dir(results.path().join("core")).unwrap().count(), 2);

    // Text of one's own, and too little of it.
    let text = results.path().join("text.jsonl");
    fs::write(&text, "{\"text\": \"The army and the navy of the United States are at peace with all.\"}\n").unwrap();
    let short = |context| CoreOptions { text: Some(text.clone()), context: Some(context), ..options() };
    let files = finish(&mut job(short(6)).unwrap(), results.path()).unwrap();
    assert_eq!(files.len(), 3, "no trained SAE, no trained variant");
    assert!(files[0]["eval_config"]["dataset"].as_str().unwrap().ends_with("text.jsonl"));
    let message = refused(short(200));
    assert!(message.contains("does not fill one row of 200 tokens"), "{message}");
    fs::write(&text, "").unwrap();
    assert!(refused(short(6)).contains("holds no text"));

    assert!(refused(CoreOptions { context: Some(257), ..options() }).contains("2 to 256"));
    assert!(refused(CoreOptions { rows: Some(0), ..options() }).contains("at least 1"));
    assert!(refused(CoreOptions { variants: vec![Variant::Trained], ..options() }).contains("trained"));

    // Results that cannot be written are refused with the folder's name.
    let blocked = results.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let message = finish(&mut job(pruned(0.5)).unwrap(), &blocked).unwrap_err().to_string();
    assert!(message.contains("blocked"), "{message}");
}

/// What `--jobs-device` works on.
#[test]
fn a_copy_of_a_session_gives_the_same_figures() {
    let session = session(SessionSpec { device: DeviceSpec::Cpu, ..demo_spec() });
    let copy = session.on(&candle_core::Device::Cpu).unwrap();
    // What the pruned model shares with the original, it shares there.
    let models = |session: &Session| session.memory()[..2].to_vec();
    assert_eq!(models(&copy), models(&session));
    let table = |session: &Session| {
        let mut job = CoreJob::new(session, &options()).unwrap();
        while job.step(&mut || Ok(())).unwrap() == Step::More {}
        job.table()
    };
    let (ours, theirs) = (table(&session), table(&copy));
    for (ours, theirs) in ours.rows.iter().zip(&theirs.rows) {
        let same = ours.values.iter().zip(&theirs.values).all(|(a, b)| a == b || format!("{a:?}") == format!("{b:?}"));
        assert!(ours.name == theirs.name && same, "{}: {:?} {:?}", ours.name, ours.values, theirs.values);
    }
}
