//! The demo's own data: every metric runs on the demo with nothing chosen, and what is built in is what it says it is.

use std::collections::{BTreeMap, BTreeSet};

use prunelens_core::{
    compare::Variant,
    data::LabelledText,
    session::{Compress, Session, SessionSpec, Source},
};
use prunelens_metrics::{
    FAMILIES, Metric, Params,
    data::Data,
    ravel::{RavelJob, RavelOptions},
    scr_tpp::{Scr, Tpp},
    sparse_probing::SparseProbing,
    texts::{TextJob, TextOptions},
};
use serde_json::Value;

use crate::support::{self, Place, finish};

/// One variant on one model, without calibration.
fn session() -> Session {
    support::session(SessionSpec { trained_sae: None, compress: Compress::None, ..support::demo_spec() })
}

#[test]
fn every_metric_starts_with_nothing_chosen_on_the_demo_and_there_alone() {
    let session = session();
    let mut other = session.clone();
    other.spec.model = Source::Path("elsewhere".into());
    assert!(FAMILIES.len() >= 7);
    let mut with_data = 0;
    for family in FAMILIES {
        let cost = (family.cost)(&session, &Params::default()).unwrap().unwrap_or_default();
        let job = (family.make)(&session, &Params::default());
        let job = job.unwrap_or_else(|error| panic!("{}: {error}", family.name));
        if ["core", "sparse_probing", "scr", "tpp"].contains(&family.name) {
            // Of what is read by the data at hand, whatever is asked for at most; lengths are told by a few.
            let told = cost.tokens as f64 / job.progress().total as f64;
            assert!((0.9..1.1).contains(&told), "{}: {told} of the tokens", family.name);
        }
        let Some(data) = family.params.iter().find(|param| param.name == "data") else { continue };
        with_data += 1;
        assert_eq!(((data.default)(&session).as_str(), (data.default)(&other).as_str()), ("demo", ""));
        let said = job.table().settings;
        assert!(said.contains(&("data".into(), Data::Demo.words())), "{}: {said:?}", family.name);
        // Another model has none of its own, and may be measured on these.
        let refused = (family.make)(&other, &Params::default()).err().unwrap().to_string();
        assert!(refused.contains("--data") && refused.contains("or demo"), "{refused}");
        let mut named = Params::default();
        named.set("data", data.kind.parse("demo").unwrap());
        assert!((family.make)(&other, &named).is_ok(), "{}", family.name);
    }
    assert_eq!(with_data, 4);
}

#[test]
fn the_built_in_texts_are_balanced_and_none_is_in_both_parts() {
    let sets = Data::Demo.datasets(&[]).unwrap();
    assert_eq!(sets.iter().map(|set| set.about.name.as_str()).collect::<Vec<_>>(), ["kind", "theme"]);
    for set in &sets {
        for (part, each) in [(&set.train, 376), (&set.test, 100)] {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            let mut cells: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
            for text in part {
                *counts.entry(&text.label).or_default() += 1;
                *cells.entry((&text.label, text.spurious.as_deref())).or_default() += 1;
            }
            assert!(counts.values().all(|count| *count >= each), "{}: {counts:?}", set.about.name);
            let classes: BTreeSet<&str> = set.about.classes.iter().map(String::as_str).collect();
            assert_eq!(counts.keys().copied().collect::<BTreeSet<_>>(), classes);
            // There are more pieces of speeches than of novels; what is measured is drawn in equal numbers.
            let equal = set.about.name == "kind" || cells.values().all(|count| Some(count) == cells.values().next());
            assert!(equal, "{}: {cells:?}", set.about.name);
        }
        let texts = |part: &[LabelledText]| part.iter().map(|text| text.text.clone()).collect::<BTreeSet<_>>();
        let (train, test) = (texts(&set.train), texts(&set.test));
        assert_eq!((train.len(), test.len()), (set.train.len(), set.test.len()), "no text stands there twice");
        assert!(train.is_disjoint(&test));
        assert!(train.iter().chain(&test).all(|text| (100..=300).contains(&text.len())));
    }
    let theme = Data::Demo.datasets(&["theme".into()]).unwrap();
    assert_eq!((theme.len(), theme[0].about.scr_pairs.len()), (1, 3));
    assert_eq!(theme[0], sets[1]);
    let message = Data::Demo.datasets(&["novels".into()]).unwrap_err().to_string();
    assert!(message.contains("demo") && message.contains("kind, theme"), "{message}");
}

#[test]
fn the_built_in_characters_have_every_attribute() {
    let classes = Data::Demo.classes().unwrap();
    assert_eq!(classes.len(), 1);
    let class = &classes[0];
    assert!(class.entities.len() >= 20, "{}", class.entities.len());
    let names: Vec<&str> = class.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    assert_eq!(names, ["Pronoun", "Sir", "Lady"]);
    assert!(class.attributes.iter().all(|attribute| attribute.templates.len() >= 4));
    for name in names {
        let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
        class.entities.iter().for_each(|(_, all)| *labels.entry(&all[name]).or_default() += 1);
        assert!(labels.len() >= 2 && labels.values().all(|count| *count >= 5), "{name}: {labels:?}");
    }
    let kept = |split: &BTreeMap<String, String>, name: &str| split.contains_key(name);
    assert!(class.entities.iter().all(|(name, _)| kept(&class.entity_split, name)));
}

fn figure(file: &Value, category: &str, name: &str) -> f64 {
    file["eval_result_metrics"][category][name].as_f64().unwrap_or_else(|| panic!("{category} {name}: {file}"))
}

#[test]
fn the_model_and_its_latents_know_the_labels() {
    let session = session();
    let results = tempfile::tempdir().unwrap();
    let options = TextOptions {
        variants: vec![Variant::Original],
        train_size: Some(120),
        test_size: Some(60),
        context: Some(48),
        k_values: vec![1, 5],
        n_values: vec![2, 50],
        ..TextOptions::default()
    };
    let mut job = TextJob::<SparseProbing>::new(&session, &options).unwrap();
    let file = finish(&mut job, results.path()).unwrap().remove(0);
    assert_eq!(file["eval_config"]["dataset_names"], serde_json::json!(["kind", "theme"]));
    for detail in file["eval_result_details"].as_array().unwrap() {
        for who in ["llm", "sae"] {
            let right = detail[format!("{who}_top_5_test_accuracy")].as_f64().unwrap();
            assert!(right > 0.65, "{who} of {}: {right}, chance is 0.5", detail["dataset_name"]);
        }
    }
    assert!(figure(&file, "sae", "sae_top_5_test_accuracy") > 0.8);

    let options = TextOptions { datasets: vec!["theme".into()], ..options };
    let mut job = TextJob::<Tpp>::new(&session, &options).unwrap();
    let file = finish(&mut job, results.path()).unwrap().remove(0);
    let [two, fifty] = [2, 50].map(|n| figure(&file, "tpp_metrics", &format!("tpp_threshold_{n}_total_metric")));
    assert!(fifty > 0.1 && fifty > two, "a theme's latents hurt its probe: {two}, {fifty}");
    let mut job = TextJob::<Scr>::new(&session, &options).unwrap();
    let file = finish(&mut job, results.path()).unwrap().remove(0);
    assert_eq!(file["eval_result_details"].as_array().unwrap().len(), 3, "a unit a pair of themes");
    let score = figure(&file, "scr_metrics", "scr_metric_threshold_2");
    assert!((-0.5..=1.0).contains(&score), "{score}");
}

#[test]
fn the_model_answers_for_its_characters() {
    let session = session();
    let options = RavelOptions {
        variants: vec![Variant::Original],
        prompts: Some(240),
        pairs: Some(24),
        epochs: Some(1),
        batch: Some(4),
        ..RavelOptions::default()
    };
    let mut job = RavelJob::new(&session, &options).unwrap();
    let file = finish(&mut job, tempfile::tempdir().unwrap().path()).unwrap().remove(0);
    let of = &file["eval_result_unstructured"]["prunelens"];
    let [asked, known] = ["asked", "known"].map(|what| of["prompts"]["character"][what].as_f64().unwrap());
    assert!(asked == 240.0 && known > 0.75 * asked, "{known} of {asked}");
    for attribute in ["Pronoun", "Sir", "Lady"] {
        let unchanged = of["attributes"][format!("character_{attribute}")]["unchanged_isolation"].as_f64().unwrap();
        assert!(unchanged > 0.9, "{attribute}: {unchanged}");
    }
    let [cause, isolation] = ["cause_score", "isolation_score"].map(|score| figure(&file, "ravel", score));
    assert!(cause > 0.05 && isolation > 0.6, "{cause}, {isolation}");
}

#[test]
fn on_the_command_line_no_file_is_needed() {
    let place = Place::new();
    let small = ["--train-size", "48", "--test-size", "24", "--datasets", "kind", "--variants", "original"];
    let args = ["metrics", "sparse-probing", "--compress", "none", "--json"];
    let ran = place.run(args.iter().chain(&small)).done().json();
    let said = ran["sparse_probing"]["settings"].to_string();
    assert!(said.contains("demo, built in, sha256 "), "{ran}");
    place.run(["metrics", "tpp", "--datasets", "kinds"]).refused(1, &["demo", "kind, theme"]);
}
