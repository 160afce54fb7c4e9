//! Metrics on labelled texts as jobs on the demo: from a table to result files, taken up again, and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    compare::Variant,
    data::labelled::{Making, make_dataset},
    error::Result,
    session::{Compress, Session, SessionSpec},
};
use prunelens_metrics::{
    Job, Metric, Step,
    details::{Cell, DetailKind},
    scr_tpp::{Scr, Tpp},
    sparse_probing::SparseProbing,
    texts::{TextJob, TextOptions},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, Place, finish};

/// Nothing that needs calibration: quick to load. Three variants on two models.
fn session() -> Session {
    let spec = SessionSpec {
        trained_sae: None,
        compress: Compress::Magnitude(0.5),
        criterion: prunelens_core::sae::Criterion::Magnitude,
        ..support::demo_spec()
    };
    support::session(spec)
}

const CLASSES: [&str; 3] = ["war", "money", "land"];

/// Sentences of three kinds, said of a man or of a woman: rows of a table.
fn rows(each: usize) -> Vec<[String; 3]> {
    let words = [
        ["army", "navy", "battle", "general", "fleet"],
        ["treasury", "revenue", "bank", "debt", "dollars"],
        ["territory", "rivers", "western lands", "settlers", "Indians"],
    ];
    let row = |n: usize| {
        let (class, rest) = (n % 3, n / 3);
        let (who, value) = if rest.is_multiple_of(2) { ("He", "m") } else { ("She", "f") };
        let (a, b) = (words[class][rest / 2 % 5], words[class][rest / 10 % 5]);
        [
            format!("{who} spoke of the {a} and the {b} of the country, {rest} times."),
            CLASSES[class].into(),
            value.into(),
        ]
    };
    (0..3 * each).map(row).collect()
}

fn table(each: usize) -> String {
    let lines = rows(each).into_iter().map(|[text, class, value]| format!("\"{text}\",{class},{value}\n"));
    "text,label,who\n".to_owned() + &lines.collect::<String>()
}

/// The data set "speeches".
fn data() -> (Place, PathBuf) {
    let place = Place::new();
    let making = Making {
        inputs: vec![place.write("in.csv", table(60))],
        text: "text".into(),
        label: "label".into(),
        spurious: Some("who".into()),
        classes: Vec::new(),
        spurious_values: None,
        pairs: vec![["war".into(), "money".into()]],
        name: None,
        out: place.path("data/speeches"),
        test_share: 0.4,
        seed: 42,
    };
    let made = make_dataset(&making).unwrap();
    assert!(made.counts.iter().all(|(_, train, test)| (*train, *test) == (36, 24)), "{made:?}");
    let data = place.path("data");
    (place, data)
}

fn options(data: &Path) -> TextOptions {
    TextOptions {
        data: Some(data.into()),
        train_size: Some(48),
        test_size: Some(24),
        context: Some(32),
        n_values: vec![2, 10, 100],
        ..TextOptions::default()
    }
}

type Make = fn(&Session, &TextOptions) -> Result<Box<dyn Job>>;

const FAMILIES: [(&str, Make); 3] = [
    ("sparse_probing", |session, options| Ok(Box::new(TextJob::<SparseProbing>::new(session, options)?))),
    ("tpp", |session, options| Ok(Box::new(TextJob::<Tpp>::new(session, options)?))),
    ("scr", |session, options| Ok(Box::new(TextJob::<Scr>::new(session, options)?))),
];

/// What two runs over the same must agree in.
fn figures(files: Vec<Value>) -> Vec<[Value; 4]> {
    let parts = ["eval_config", "eval_result_metrics", "eval_result_details", "eval_result_unstructured"];
    files.into_iter().map(|file| parts.map(|part| file[part].clone())).collect()
}

#[test]
fn from_a_table_to_result_files() {
    let (_place, data) = data();
    let (session, results) = (session(), TempDir::new().unwrap());
    for (name, make) in FAMILIES {
        let mut job = make(&session, &options(&data)).unwrap();
        assert!(job.finish(results.path()).is_err(), "not finished yet");
        let files = finish(&mut *job, results.path()).unwrap();
        assert_eq!(fs::read_dir(results.path().join(name)).unwrap().count(), 3);
        let table = job.table();
        assert_eq!(
            (table.progress, &table.variants[..]),
            (1.0, &[Variant::Original, Variant::Transfer, Variant::Pruned][..])
        );
        for (at, file) in files.iter().enumerate() {
            assert_eq!(file["eval_type_id"], name);
            let of = |key: &str| file["eval_config"][key].clone();
            let prefix = if name == "sparse_probing" { "probe_" } else { "" };
            let train = of(&format!("{prefix}train_set_size"));
            // SCR takes twice as many of the quarters where the labels go together: there are 18 of each.
            let real = if name == "scr" { 36 } else { 48 };
            let test = of(&format!("{prefix}test_set_size"));
            assert_eq!((train, test, of("context_length")), (real.into(), 24.into(), 32.into()));
            assert_eq!(file["eval_config"]["dataset_names"], serde_json::json!(["speeches"]));
            let details = file["eval_result_details"].as_array().unwrap();
            assert_eq!(details.len(), 1);
            // The file holds what the table shows.
            for row in table.rows.iter().filter(|row| !row.category.contains("speeches")) {
                let written = file["eval_result_metrics"][&row.category][&row.name].as_f64();
                // JSON numbers come back to the last digit but one.
                let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-12;
                assert!(written.zip(row.values[at]).is_some_and(near), "{name} {}", row.name);
                assert_eq!(details[0][&row.name].as_f64(), written);
            }
            assert_eq!(
                file["eval_result_unstructured"]["prunelens"], files[0]["eval_result_unstructured"]["prunelens"],
                "the same texts for all variants"
            );
        }
        match name {
            "sparse_probing" => {
                let get =
                    |file: &Value, whose: &str, what: &str| file["eval_result_metrics"][whose][what].as_f64().unwrap();
                // Words tell the classes apart: the model knows them, and so do all of the SAE's latents.
                assert!(
                    get(&files[0], "llm", "llm_test_accuracy") > 0.9
                        && get(&files[0], "sae", "sae_test_accuracy") > 0.9
                );
                assert!(files[0]["eval_result_metrics"]["sae"]["sae_top_100_test_accuracy"].is_null());
                let model = |file: &Value| file["eval_result_metrics"]["llm"].clone();
                assert_eq!(model(&files[1]), model(&files[2]), "probes of the model are shared");
                let classes = &files[0]["eval_result_unstructured"]["speeches_results"]["sae_top_2_test_accuracy"];
                assert_eq!(classes.as_object().unwrap().len(), 3);
                let details = job.details();
                let DetailKind::Table { columns, rows } = &details[0].kind else { panic!("{details:?}") };
                assert_eq!((details[0].title.as_str(), columns.len(), rows.len()), ("speeches by class", 5, 12));
                let written = classes["war"].as_f64().unwrap();
                let shown =
                    rows.iter().find(|row| row[..2] == ["war".into(), "sae_top_2_test_accuracy".into()]).unwrap();
                assert!(matches!(shown[2], Cell::Number(shown) if (shown - written).abs() < 1e-12), "{shown:?}");
            }
            "tpp" => {
                let unstructured = &files[0]["eval_result_unstructured"]["speeches"];
                assert!(unstructured["war"]["tpp_threshold_2_intended_diff_only"].is_number());
                assert!(files[0]["eval_result_metrics"]["tpp_metrics"]["tpp_threshold_500_total_metric"].is_null());
            }
            _ => {
                assert_eq!(
                    files[0]["eval_config"]["column1_vals_lookup"],
                    serde_json::json!({"speeches": [["war", "money"]]})
                );
                assert_eq!(files[0]["eval_result_details"][0]["dataset_name"], "speeches_scr_war_money_results");
            }
        }
    }
}

#[test]
fn a_job_taken_up_again_gives_the_same_bits_and_memory_changes_none() {
    let (_place, data) = data();
    let (session, results) = (session(), TempDir::new().unwrap());
    for (name, make) in FAMILIES {
        let options = options(&data);
        let expected = figures(finish(&mut *make(&session, &options).unwrap(), results.path()).unwrap());
        // With nothing but the temporary file, where a state holds no texts either.
        for memory in [None, Some(0)] {
            let options = TextOptions { memory, ..options.clone() };
            let steps = if memory.is_none() { 2 } else { 40 };
            let mut state: Option<Vec<u8>> = None;
            let mut interrupted = 0;
            let found = loop {
                let mut job = make(&session, &options).unwrap();
                if let Some(state) = &state {
                    job.restore(state).unwrap();
                }
                // A step that is broken off is done again.
                if job.step(&mut || Err(prunelens_core::error::Error::Interrupted)).is_err() {
                    interrupted += 1;
                }
                let more = (0..steps).all(|_| job.step(&mut || Ok(())).unwrap() == Step::More);
                if !more {
                    break figures(finish(&mut *job, results.path()).unwrap());
                }
                state = Some(job.state().unwrap());
            };
            assert_eq!(found, expected, "{name} with {memory:?}");
            assert!(interrupted > 0);
        }
        let state = make(&session, &options).unwrap().state().unwrap();
        let mut other = make(&session, &TextOptions { train_size: Some(32), ..options.clone() }).unwrap();
        assert!(other.restore(&state).unwrap_err().to_string().contains("start it anew"));
        assert!(other.restore(&[1, 2, 3]).unwrap_err().to_string().contains("start it anew"));
    }
}

#[test]
fn what_cannot_be_measured_is_named() {
    let (place, data) = data();
    let session = session();
    let refused = |make: Make, options: TextOptions| make(&session, &options).err().unwrap().to_string();
    let [probing, tpp, scr] = FAMILIES.map(|(_, make)| make);
    let base = options(&data);

    assert!(refused(probing, TextOptions { k_values: vec![3], ..base.clone() }).contains("--k 3"));
    assert!(refused(tpp, TextOptions { n_values: vec![7], ..base.clone() }).contains("--latents 7"));
    assert!(refused(tpp, TextOptions { context: Some(100_000), ..base.clone() }).contains("context"));
    assert!(refused(tpp, TextOptions { train_size: Some(0), ..base.clone() }).contains("--train-size 0"));
    assert!(refused(tpp, TextOptions { datasets: vec!["x".into()], ..base.clone() }).contains("no data set \"x\""));
    assert!(refused(tpp, TextOptions { variants: vec![Variant::Trained], ..base.clone() }).contains("trained"));

    let line = |text: &str, label: &str| format!("{{\"text\": \"{text}\", \"label\": \"{label}\"}}\n");
    let lines = |texts: &[(&str, usize)]| -> String {
        texts.iter().flat_map(|(label, n)| (0..*n).map(move |at| line(&format!("{label} {at}"), label))).collect()
    };
    let with = |name: &str, train: &str, test: &str| {
        place.write(&format!("{name}/{name}/train.jsonl"), train);
        place.write(&format!("{name}/{name}/test.jsonl"), test);
        options(&place.path(name))
    };
    let enough = lines(&[("a", 5), ("b", 5)]);
    let few = with("few", &lines(&[("a", 5), ("b", 3)]), &enough);
    let message = refused(probing, few);
    assert!(message.contains("train.jsonl") && message.contains("3 training texts of class \"b\""), "{message}");
    let missing = with("missing", &enough, &lines(&[("a", 5)]));
    let message = refused(probing, missing);
    assert!(message.contains("test.jsonl") && message.contains("0 test texts of class \"b\""), "{message}");
    let message = refused(tpp, with("one", &lines(&[("a", 9)]), &lines(&[("a", 9)])));
    assert!(message.contains("one class only (a)"), "{message}");
    let empty = with("empty", &(lines(&[("a", 3), ("b", 4)]) + &line("", "a")), &enough);
    let message = refused(tpp, empty);
    assert!(message.contains("train.jsonl line 8: nothing"), "{message}");
    let message = refused(scr, with("plain", &enough, &enough));
    assert!(message.contains("no pairs"), "{message}");

    // One data set without pairs does not keep SCR from another.
    place.write("data/plain/train.jsonl", &enough);
    place.write("data/plain/test.jsonl", &enough);
    assert!(scr(&session, &base).is_ok());
    let message = refused(scr, TextOptions { datasets: vec!["plain".into()], ..base });
    assert!(message.contains("no pairs"), "{message}");
}

#[test]
fn from_the_command_line() {
    let place = Place::new();
    let (table, data, out) = (place.write("in.csv", table(20)), place.path("data"), place.path("out"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let labels = |more: &[&str]| {
        let out = path(&data.join("speeches"));
        place.run(["data", "labels", &path(&table), "--out", &out].into_iter().chain(more.iter().copied()))
    };
    labels(&["--label", "kind"]).refused(1, &["no column \"kind\"", "text, label, who"]);
    labels(&["--spurious", "who", "--pairs", "war"]).refused(2, &["--pairs"]);
    let made = labels(&["--spurious", "who", "--test-share", "0.5"]).done().out;
    assert!(made.contains("war") && made.contains("10 to train") && made.contains("pairs land:money"), "{made}");
    labels(&[]).refused(1, &["is there already"]);

    let run = |names: &[&str], more: &[&str]| {
        let (data, out) = (path(&data), path(&out));
        let args = ["--variants", "original", "--train-size", "16", "--test-size", "8", "--context", "16", "--k", "1"];
        let folders = ["--data", &data, "--out", &out];
        place.run([&["metrics"], names, &args, &folders, more].concat())
    };
    let both = run(&["sparse-probing", "tpp"], &["--json"]).done();
    let json: Value = serde_json::from_str(&both.out).unwrap();
    assert_eq!(json["sparse_probing"]["files"].as_array().unwrap().len(), 1);
    assert!(json["tpp"]["seconds"].as_f64().is_some());
    // Done already: it is taken up as it is, and that is said.
    let again = run(&["sparse_probing"], &[]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert!(again.err.contains("measured already"), "{again:#?}");
    let text = again.out;
    assert!(text.contains("sae_top_1_test_accuracy"), "{text}");
    assert!(text.contains("! speeches: 8 test texts a class"), "{text}");
}
