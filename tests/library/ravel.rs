//! RAVEL as a job on the demo: files of entities in, steps, figures, result files, and what it refuses.

use std::{collections::BTreeMap, fs, path::Path};

use prunelens_core::{
    compare::Variant,
    data::entities::{Attribute, EntityClass, write_class},
    error::Error,
    model::ragged::{Text, readable},
    session::{Compress, Session, SessionSpec},
};
use prunelens_metrics::{
    Job, Metric, Step,
    ravel::{RavelJob, RavelOptions},
};
use serde_json::{Value, json};

use crate::support::{Place, demo_spec, finish, session};

/// Words that the demo goes on from in different ways, as entities; the labels are what it says, so that it knows them.
fn class(session: &Session) -> EntityClass {
    let names = [
        "king", "army", "river", "house", "church", "law", "ship", "money", "people", "city", "war", "peace", "letter",
        "son", "navy", "treaty",
    ];
    let templates = [("Next", ["The %s", "of the %s"]), ("After", ["and a great %s", "with his %s"])];
    let model = readable(&session.models.original).unwrap();
    let says = |template: &str, name: &str| {
        let ids = session.models.tokenizer.encode_with_own_specials(&template.replace("%s", name)).unwrap();
        let (texts, last) = model.read(vec![Text::default()], &[&ids], &mut || Ok(())).unwrap();
        let logits = model.last_logits(&last, &[ids.len()]).unwrap();
        let said = model.continue_texts(texts, &logits, 6, None, &mut || Ok(())).unwrap().remove(0);
        let bytes: Vec<u8> = said.iter().flat_map(|id| session.models.tokenizer.piece(*id)).collect();
        String::from_utf8_lossy(&bytes).split('"').next().unwrap().trim().to_owned()
    };
    let entities = names.iter().map(|name| {
        let label = |(attribute, list): &(&str, [&str; 2])| ((*attribute).to_owned(), says(list[0], name));
        ((*name).to_owned(), templates.iter().map(label).collect::<BTreeMap<_, _>>())
    });
    let attribute = |(name, list): &(&str, [&str; 2])| Attribute {
        name: (*name).into(),
        templates: list.map(String::from).to_vec(),
    };
    EntityClass {
        name: "word".into(),
        attributes: templates.iter().map(attribute).collect(),
        entities: entities.collect(),
        entity_split: BTreeMap::new(),
        template_split: BTreeMap::new(),
    }
}

/// A small job.
fn options(data: &Path) -> RavelOptions {
    RavelOptions { data: Some(data.into()), pairs: Some(12), epochs: Some(2), batch: Some(3), ..Default::default() }
}

/// All that a run found, without what differs from run to run.
fn found(files: &[Value]) -> Vec<[Value; 2]> {
    files.iter().map(|f| [f["eval_result_metrics"].clone(), f["eval_result_unstructured"].clone()]).collect()
}

#[test]
fn a_job_from_files_to_files() {
    let session = session(demo_spec());
    let place = tempfile::tempdir().unwrap();
    let (data, results) = (place.path().join("data"), place.path().join("results"));
    fs::create_dir(&data).unwrap();
    write_class(&data, &class(&session)).unwrap();
    let mut job = RavelJob::new(&session, &options(&data)).unwrap();
    assert!(job.finish(&results).is_err(), "not finished yet");
    let names: Vec<_> = job.table().rows.iter().map(|r| (r.category.clone(), r.name.clone())).collect();
    let (mut last, mut seen) = (0, 0);
    while job.step(&mut || Ok(())).unwrap() == Step::More {
        let (progress, table) = (job.progress(), job.table());
        assert!(progress.done >= last && progress.done <= progress.total, "{progress:?}");
        assert!(!progress.note.is_empty());
        assert_eq!(table.variants, Variant::ALL);
        assert!(table.rows.iter().map(|r| (r.category.clone(), r.name.clone())).eq(names.clone()));
        seen += usize::from(table.rows.iter().any(|r| r.values.iter().any(Option::is_some)));
        last = progress.done;
    }
    assert!(seen > 5, "figures come on the way");
    assert_eq!(job.progress().done, job.progress().total);
    assert_eq!(job.details().len(), 4);
    let files = job.finish(&results).unwrap();
    assert_eq!(files.len(), 4);
    let table = job.table();
    let row = |name: &str| table.rows.iter().find(|r| r.name == name).unwrap();
    for (at, path) in files.iter().enumerate() {
        assert!(path.starts_with(results.join("ravel")));
        assert!(path.to_string_lossy().contains(Variant::ALL[at].name()));
        let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for name in ["disentanglement_score", "cause_score", "isolation_score"] {
            let (written, shown) = (file["eval_result_metrics"]["ravel"][name].as_f64(), row(name).values[at]);
            // Undefined where an attribute's few test pairs are all of one kind: -1 in files.
            assert!((written.unwrap() - shown.unwrap_or(-1.0)).abs() < 1e-12);
            assert!(shown.is_none_or(|score| (0.0..=1.0).contains(&score)));
            assert!(shown.is_some() || name != "isolation_score");
        }
        assert_eq!(file["eval_config"]["entity_attribute_selection"]["word"][1], "After");
        assert_eq!(file["eval_config"]["num_pairs_per_attribute"], 12);
        let scores = &file["eval_result_unstructured"]["word_results"]["word_Next"];
        assert!(scores["disentangle_score"].is_number());
        let own = &file["eval_result_unstructured"]["prunelens"]["attributes"]["word_Next"];
        assert_eq!(own["training_pairs"].as_u64().unwrap() % 3, 0);
        assert!(own["last_training_loss"].as_f64().unwrap() > 0.0);
    }
    // The unchanged original answers as it did when it was asked; the pruned model is another.
    let unchanged = &row("unchanged_isolation").values;
    assert_eq!(unchanged[0], Some(1.0));
    assert!(unchanged[1] == unchanged[2] && unchanged[1] == unchanged[3]);

    // The same from a job that is thrown away and taken up after every few steps, and whose steps are broken off.
    let expected = found(&finish(&mut job, &results).unwrap());
    let mut state: Option<Vec<u8>> = None;
    let mut rounds = 0;
    let again = loop {
        let mut job = RavelJob::new(&session, &options(&data)).unwrap();
        if let Some(state) = &state {
            job.restore(state).unwrap();
        }
        let mut ticks = 0;
        let mut impatient = || {
            ticks += 1;
            if ticks % 37 == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        let mut done = false;
        for _ in 0..25 {
            match job.step(&mut impatient) {
                Ok(step) => done = step == Step::Done,
                Err(Error::Interrupted) => {}
                Err(other) => panic!("{other}"),
            }
            if done {
                break;
            }
        }
        rounds += 1;
        if done {
            break found(&finish(&mut job, &results).unwrap());
        }
        state = Some(job.state().unwrap());
    };
    assert!(rounds > 3);
    assert_eq!(again, expected);

    let state = state.unwrap();
    let mut other = RavelJob::new(&session, &RavelOptions { epochs: Some(1), ..options(&data) }).unwrap();
    assert!(other.restore(&state).unwrap_err().to_string().contains("another RAVEL run"));
    assert!(other.restore(&state[..state.len() / 2]).is_err());
    assert!(other.restore(&[]).unwrap_err().to_string().contains("start it anew"));
}

#[test]
fn what_cannot_be_measured_is_refused_in_words() {
    let session = session(SessionSpec { trained_sae: None, compress: Compress::None, ..demo_spec() });
    let place = tempfile::tempdir().unwrap();
    let data = place.path();
    let refused = |options: RavelOptions| match RavelJob::new(&session, &options) {
        Ok(mut job) => finish(&mut job, &data.join("results")).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refused(options(data)).contains("holds no entity class"));
    assert!(refused(options(&data.join("none"))).contains("none"));

    let whole = class(&session);
    let write = |change: &dyn Fn(&mut EntityClass)| {
        let mut class = whole.clone();
        change(&mut class);
        write_class(data, &class).unwrap();
    };
    write(&|class| drop(class.attributes.pop()));
    assert!(refused(options(data)).contains("at least two"));
    write(&|class| class.attributes[0].templates = vec!["%s and %s".into()]);
    let message = refused(options(data));
    assert!(message.contains("2 places for the entity") && message.contains("attribute_to_prompts"), "{message}");
    write(&|class| class.attributes[1].templates = vec![format!("{} %s", "word ".repeat(300))]);
    assert!(refused(options(data)).contains("shorten its template"));
    write(&|class| class.entities.truncate(2));
    let message = refused(options(data));
    assert!(message.contains("word") && message.contains("give more entities"), "{message}");
    write(&|class| {
        for (_, labels) in &mut class.entities {
            labels.values_mut().for_each(|label| *label = "xyzzy".into());
        }
    });
    assert!(refused(options(data)).contains("Next 0, After 0"), "{}", refused(options(data)));
    write(&|_| {});
    assert!(refused(RavelOptions { batch: Some(500), ..options(data) }).contains("--batch"));
    assert!(refused(RavelOptions { variants: vec![Variant::Trained], ..options(data) }).contains("trained"));
    // What is not pruned is one model: its three variants are measured side by side.
    let mut job = RavelJob::new(&session, &options(data)).unwrap();
    assert_eq!(finish(&mut job, &data.join("results")).unwrap().len(), 3);
}

#[test]
fn from_a_table_to_figures_on_the_command_line() {
    let session = session(SessionSpec { trained_sae: None, compress: Compress::None, ..demo_spec() });
    let class = class(&session);
    let place = Place::new();
    let mut table = String::new();
    for (name, labels) in &class.entities {
        table += &format!("{}\n", json!({ "word": name, "Next": labels["Next"], "After": labels["After"] }));
    }
    // Another label for a name that was there, a row without one, and one that the model does not know.
    for row in [json!({ "word": "king", "Next": "x", "After": "y" }), json!({ "word": "queen", "Next": "x" })] {
        table += &format!("{row}\n");
    }
    table += &format!("{}\n", json!({ "word": "stone", "Next": "xyzzy", "After": "plugh" }));
    let table = place.write("words.jsonl", table);
    let templates: serde_json::Map<String, Value> =
        class.attributes.iter().map(|a| (a.name.clone(), json!(a.templates))).collect();
    let templates = place.write("templates.json", Value::Object(templates).to_string());
    let out = place.path("data");
    let text = |path: &Path| path.display().to_string();
    let make = |attributes: &str, templates: &Path| {
        place.run([
            "data",
            "entities",
            &text(&table),
            "--entity",
            "word",
            "--attributes",
            attributes,
            "--class",
            "word",
            "--templates",
            &text(templates),
            "--out",
            &text(&out),
        ])
    };
    let made = make("Next,After", &templates).done().printable();
    assert!(made.out.contains("16 of 17 entities kept"), "{}", made.out);
    assert!(made.out.contains("1 rows with a name that was there before"), "{}", made.out);
    assert!(made.out.contains("1 rows without a name or a label"), "{}", made.out);
    let written = prunelens_core::data::entities::read_classes(&out).unwrap().remove(0);
    assert_eq!(written.entities, class.entities);
    assert_eq!(written.entity_split.len(), 16);

    let args = ["metrics", "ravel", "--data", "data", "--pairs", "8", "--batch", "2", "--epochs", "1", "--json"];
    let ran = place.run(args.iter().chain(&["--variants", "original", "--compress", "none"])).done().json();
    assert_eq!(ran["ravel"]["files"].as_array().unwrap().len(), 1);

    make("Next,Before", &templates).refused(1, &["templates.json", "\"Before\""]);
    let wrong = place.write("wrong.json", r#"{"Next": ["here"], "After": ["%s"]}"#);
    make("Next,After", &wrong).refused(1, &["wrong.json", "0 places for the entity"]);
    make("Next,Next", &templates).refused(2, &["named twice"]);
}
