//! The atlas as a job: breaks, what is shared with other figures, and what is refused.

use std::fs;

use prunelens_core::{
    error::Result,
    sae::Criterion,
    session::{Compress, SessionSpec},
};
use prunelens_metrics::{
    Job, JobSpec, Metric, Run, RunFile, Step,
    atlas::{Atlas, AtlasJob, AtlasOptions, Fate},
    details::DetailKind,
    fingerprint,
};
use safetensors::{Dtype, tensor::TensorView};

use crate::support::{Place, demo_spec, session};

/// Quick to load: nothing is calibrated.
fn quick() -> SessionSpec {
    SessionSpec { compress: Compress::Magnitude(0.5), criterion: Criterion::Magnitude, ..demo_spec() }
}

fn options() -> AtlasOptions {
    AtlasOptions {
        ratios: vec![0.0, 0.25, 0.9],
        rows: Some(5),
        context: Some(20),
        batch: Some(2),
        ..AtlasOptions::default()
    }
}

const FILES: [&str; 3] = ["atlas.parquet", "atlas.safetensors", "atlas.json"];

/// To the end; what the files hold.
fn finish(job: &mut AtlasJob) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
    let files = job.finish(folder.path()).unwrap();
    assert_eq!(files, FILES.map(|name| folder.path().join(name)));
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn an_atlas_taken_up_again_gives_the_same_bits() {
    let (session, folder) = (session(quick()), tempfile::tempdir().unwrap());
    let expected = finish(&mut AtlasJob::new(&session, &options()).unwrap());
    let mut state: Option<Vec<u8>> = None;
    let found = loop {
        let mut job = AtlasJob::new(&session, &options()).unwrap();
        if let Some(state) = &state {
            job.restore(state).unwrap();
            assert_eq!(job.state().unwrap(), *state, "nothing is lost before the next step");
        }
        assert!(job.finish(folder.path()).unwrap_err().to_string().contains("not finished"));
        // The first step only sets up.
        let steps = [0; 2].map(|_| job.step(&mut || Ok(())).unwrap());
        state = Some(job.state().unwrap());
        if steps.contains(&Step::Done) {
            // As if the process ended before the results were written.
            let mut job = AtlasJob::new(&session, &options()).unwrap();
            job.restore(&state.unwrap()).unwrap();
            break finish(&mut job);
        }
    };
    assert!(found == expected);

    let mut job = AtlasJob::new(&session, &options()).unwrap();
    job.step(&mut || Ok(())).unwrap();
    // A step that is stopped midway leaves nothing behind.
    for allowed in [0, 1, 5, 9] {
        let mut left = allowed;
        let stopped = job.step(&mut || {
            left -= 1;
            if left < 0 { Err(prunelens_core::error::Error::Interrupted) } else { Ok(()) }
        });
        assert!(stopped.is_err());
        assert_eq!(job.progress().done, 0);
    }
    assert!(finish(&mut job) == expected);

    let other = AtlasOptions { ratios: vec![0.0, 0.25], ..options() };
    let state = job.state().unwrap();
    let refused = AtlasJob::new(&session, &other).unwrap().restore(&state).unwrap_err().to_string();
    assert!(refused.contains("start it anew"), "{refused}");
    assert!(AtlasJob::new(&session, &options()).unwrap().restore(&state[..state.len() / 2]).is_err());
}

#[test]
fn figures_do_not_depend_on_the_batch_and_are_shown() {
    let session = session(quick());
    let json = |options: AtlasOptions| -> serde_json::Value {
        serde_json::from_slice(&finish(&mut AtlasJob::new(&session, &options).unwrap())[2]).unwrap()
    };
    let (small, whole) = (json(options()), json(AtlasOptions { batch: Some(5), ..options() }));
    for name in ["rows", "positions", "masked", "predicted", "tokens_sha256", "fates"] {
        assert_eq!(small[name], whole[name], "{name}");
    }
    assert_eq!(small["rows"], 5, "not whole batches only");
    assert_eq!(small["positions"].as_u64().unwrap() + small["masked"].as_u64().unwrap(), 100);

    let mut job = AtlasJob::new(&session, &options()).unwrap();
    let names = |job: &AtlasJob| job.table().rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    let before = names(&job);
    assert!(job.details().is_empty());
    finish(&mut job);
    assert_eq!(names(&job), before);
    let details = job.details();
    let DetailKind::Lines { series, .. } = &details[0].kind else { panic!("{details:?}") };
    assert_eq!(series[0].points.len(), 3);
    // Terms are added in the order of their ranks here, so that the last bits of single activations differ.
    assert!((series[0].points[0].1 - 1.0).abs() < 1e-7, "nothing is pruned at 0");
    let DetailKind::Table { rows, columns } = &details[1].kind else { panic!("{details:?}") };
    assert_eq!((rows.len(), columns.len()), (Fate::ALL.len(), 3));
    let DetailKind::Table { rows, columns } = &details[2].kind else { panic!("{details:?}") };
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == columns.len()));
}

#[test]
fn what_was_written_is_read_again_whole_or_not_at_all() {
    let (session, folder) = (session(quick()), tempfile::tempdir().unwrap());
    let mut job = AtlasJob::new(&session, &AtlasOptions { importance_rows: Some(3), ..options() }).unwrap();
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
    job.finish(folder.path()).unwrap();
    let atlas = Atlas::open(folder.path()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join(FILES[2])).unwrap()).unwrap();
    assert_eq!((atlas.about.rows, json["importance_rows"].as_u64()), (5, Some(3)));
    assert!((40..=54).contains(&atlas.about.predicted), "at most eighteen of each of three rows");
    for fate in Fate::ALL {
        let n = atlas.fates.iter().filter(|found| **found == fate).count();
        assert_eq!(json["fates"][fate.name()], n, "{fate:?}");
    }
    let names: Vec<_> = atlas.columns.iter().map(|(name, _)| name.as_str()).chain(["fate"]).collect();
    assert_eq!(json["columns"], serde_json::json!(names));
    // What fires only in rows that were not traced has no importance; what never fires has none to lose.
    let (importance, mass) = (atlas.column("importance").unwrap(), atlas.column("mass.original").unwrap());
    assert!(importance.iter().zip(mass).all(|(importance, mass)| *mass > 0.0 || *importance == 0.0));
    assert!(importance.iter().any(|v| v.is_nan()) && importance.iter().any(|v| *v != 0.0));
    let by_ratio = atlas.fates_by_ratio();
    assert_eq!(by_ratio.iter().map(|(ratio, _)| *ratio).collect::<Vec<_>>(), options().ratios);
    assert!(by_ratio.iter().all(|(_, counts)| counts.iter().sum::<usize>() == atlas.about.d_sae));
    assert_eq!(by_ratio[0].1[Fate::DeadWithSae as usize], 0, "nothing is pruned at 0");

    let table = folder.path().join(FILES[1]);
    assert_eq!(Atlas::open(&table).unwrap().fates, atlas.fates, "any of the three names it");
    let mut bytes = fs::read(&table).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&table, bytes).unwrap();
    let refused = Atlas::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains(FILES[1]) && refused.contains("run the atlas again"), "{refused}");
    let refused = Atlas::open(&folder.path().join("none.json")).unwrap_err().to_string();
    assert!(refused.contains("none.json"), "{refused}");
}

#[test]
fn an_atlas_is_found_where_a_newer_one_has_set_it_aside() {
    let (session, folder) = (session(quick()), tempfile::tempdir().unwrap());
    let write = |rows| {
        let mut job = AtlasJob::new(&session, &AtlasOptions { rows: Some(rows), ..options() }).unwrap();
        while job.step(&mut || Ok(())).unwrap() == Step::More {}
        let files = job.finish(folder.path()).unwrap();
        let run = Run::now(JobSpec::new("atlas"), String::new(), 0.0, job.table(), Vec::new());
        run.written(files, String::new()).results().next().unwrap()
    };
    let (first, second) = (write(2), write(3));
    assert_eq!(first.path, second.path);
    let [older, newer] = [&first, &second].map(|file| Atlas::of_run(file).unwrap());
    assert_eq!((older.about.rows, newer.about.rows), (2, 3));
    let gone = RunFile { sha256: "0".repeat(64), ..first };
    assert!(Atlas::of_run(&gone).unwrap_err().to_string().contains("is gone, or was changed"));

    let mut fingerprint = fingerprint::of_session(&session);
    older.check_session(&fingerprint).unwrap();
    fingerprint["compress"] = "wanda:0.9".into();
    let refused = older.check_session(&fingerprint).unwrap_err().to_string();
    assert!(refused.contains("another session") && refused.contains("compress"), "{refused}");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let session = session(quick());
    let refused = |options: AtlasOptions| -> String {
        let made: Result<AtlasJob> = AtlasJob::new(&session, &options);
        made.err().expect("refused").to_string()
    };
    for (options, words) in [
        (AtlasOptions { rows: Some(0), ..options() }, ["--rows", "at least 1"]),
        (AtlasOptions { batch: Some(0), ..options() }, ["--batch", "at least 1"]),
        (AtlasOptions { context: Some(1), ..options() }, ["context", "expected 2"]),
        (AtlasOptions { ratios: vec![0.5, 0.25], ..options() }, ["--ratios", "0.5 before 0.25"]),
        (AtlasOptions { ratios: vec![0.25, 0.5, 0.5], ..options() }, ["--ratios", "0.5 is there twice"]),
        (AtlasOptions { ratios: vec![-0.0, 0.0], ..options() }, ["--ratios", "0 is there twice"]),
    ] {
        let message = refused(options);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }

    // Rows of nothing but special tokens.
    let place = Place::new();
    let special = session.models.tokenizer.bos.or(session.models.tokenizer.eos).unwrap();
    let ids: Vec<u8> = [i64::from(special); 24].iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::I64, vec![2, 12], &ids).unwrap();
    let text = place.write("tokens.safetensors", safetensors::serialize([("tokens", view)], None).unwrap());
    let message = refused(AtlasOptions { text: Some(text), context: Some(12), ..options() });
    assert!(message.contains("none counts") && message.contains("tokens.safetensors"), "{message}");
}

#[test]
fn the_command_line_refuses_what_is_no_list_of_ratios() {
    let place = Place::new();
    for (flags, words) in [
        (["--rows", "0"], ["--rows", "expected a whole number"]),
        (["--ratios", "0.5,0.25"], ["--ratios", "ascend"]),
        (["--ratios", "0.5,0.5"], ["--ratios", "twice"]),
        (["--ratios", "0.5,1.5"], ["--ratios", "expected numbers"]),
    ] {
        place.run(["metrics", "atlas"].into_iter().chain(flags)).refused(2, &words);
    }
    assert!(!place.path("prunelens-results/atlas.json").exists());
}
