//! The absorption metric over several variants: a model whose letters can be told, breaks, and what is not evaluable.

use std::{fs, path::Path, sync::Arc};

use candle_core::{DType, Device};
use prunelens_core::{
    compare::{Reader, Variant},
    error::Error,
    model::{Model, Tokenizer},
    prune::sae::rank,
    sae::{Criterion, Pruning, formats},
    session::{Compress, Session, SessionSpec},
};
use prunelens_metrics::{
    Job, Measure, Metric, Step,
    absorption::{AbsorptionJob, AbsorptionOptions, AbsorptionResult, AbsorptionRun, AbsorptionSpec},
    details::DetailKind,
};
use serde_json::Value;

use crate::support::{demo_spec, metrics_fixture};

/// Two copies of the fixtures' model, whose letters can be told, and an SAE built to absorb; few letters are enough.
fn run() -> AbsorptionRun {
    let model = Model::load(&metrics_fixture("model"), &Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap();
    let tokenizer = Tokenizer::load(&metrics_fixture("model"), &model.config).unwrap();
    let (original, pruned) = (Arc::new(model.clone()), Arc::new(model));
    let sae = Arc::new(formats::load(&metrics_fixture("saes/absorption")).unwrap());
    let order = Arc::new(rank(&*sae, Criterion::Magnitude, None, &mut || Ok(())).unwrap());
    let reader = |variant, ratio: Option<f64>| {
        let model = if variant == Variant::Original { &original } else { &pruned };
        let pruning = ratio.map(|ratio| Pruning { order: order.clone(), at: ratio });
        Reader::new(variant, model.clone(), sae.clone(), pruning, sae.config.hook, sae.config.space).unwrap()
    };
    let readers = vec![
        reader(Variant::Original, None),
        reader(Variant::Transfer, None),
        reader(Variant::Pruned, Some(0.0)),
        reader(Variant::Pruned, Some(0.97)),
    ];
    let spec = AbsorptionSpec { min_feats_for_eval: 3, min_gt_probe_f1: 0.3, ..AbsorptionSpec::default() };
    AbsorptionRun::new(spec, readers, tokenizer, true).unwrap()
}

fn finish(mut run: AbsorptionRun) -> Vec<AbsorptionResult> {
    while run.step(&mut || Ok(())).unwrap() {}
    run.finish().unwrap()
}

#[test]
fn variants_share_words_and_probes_and_differ_by_their_saes() {
    let mut run = run();
    assert!(run.finish().is_err(), "not finished yet");
    assert_eq!(run.groups(), [vec![0], vec![1, 2, 3]]);
    let (mut last, mut shown) = (0, 0);
    while run.step(&mut || Ok(())).unwrap() {
        let (done, total) = run.progress();
        assert!(done >= last && done <= total && !run.note().is_empty());
        (last, shown) =
            (done, shown + usize::from(run.table().rows.iter().any(|r| r.values.iter().any(Option::is_some))));
    }
    assert!(shown > 10, "figures come on the way");
    let results = run.finish().unwrap();

    let mean = results[0].mean.expect("enough letters");
    assert!((0.0..=1.0).contains(&mean.mean_absorption_fraction_score) && mean.mean_num_split_features >= 1.0);
    let words: usize = results[0].letters.iter().map(|l| l.words.len()).sum();
    assert!(
        words > 10 && results[0].letters.iter().all(|l| l.words.len() == if l.counts { l.true_positives } else { 0 })
    );
    assert!(results[0].letters.iter().flat_map(|l| &l.words).any(|(_, w)| w.fraction > 0.0), "something is absorbed");
    // Two copies of one model, one SAE: the same to the bit. So is a ratio of nothing.
    assert_eq!(results[0].letters, results[1].letters);
    assert_eq!(results[1].letters, results[2].letters);
    assert_ne!(results[2].letters, results[3].letters);
    // Hardly anything is left of this one, rows of zeros among it.
    assert!(results[3].letters.iter().all(|l| l.sparse_f1.iter().all(|f1| f1.is_finite())));
    assert!(results[3].letters.iter().zip(&results[2].letters).all(|(a, b)| a.probe_f1 == b.probe_f1));

    let details = run.details();
    assert_eq!(details.len(), 4);
    let DetailKind::Table { columns, rows } = &details[0].kind else { panic!("{}", details[0].title) };
    assert!(rows.len() == 26 && rows.iter().all(|row| row.len() == columns.len()));
}

#[test]
fn a_run_taken_up_again_gives_the_same_bits() {
    let expected = finish(run());
    let mut state: Option<Vec<u8>> = None;
    let found = loop {
        let mut run = run();
        if let Some(state) = &state {
            run.restore(state).unwrap();
        }
        let mut more = true;
        for _ in 0..23 {
            more = more && run.step(&mut || Ok(())).unwrap();
        }
        if !more {
            break run.finish().unwrap();
        }
        state = Some(run.state().unwrap());
    };
    assert_eq!(found, expected);

    let state = state.unwrap();
    let mut other = run();
    assert!(other.restore(&[1, 2, 3]).unwrap_err().to_string().contains("start it anew"));
    let readers = other.readers()[..2].to_vec();
    let model = metrics_fixture("model");
    let tokenizer = Tokenizer::load(&model, &readers[0].model.config).unwrap();
    let mut fewer = AbsorptionRun::new(other.spec().clone(), readers.clone(), tokenizer.clone(), true).unwrap();
    assert!(fewer.restore(&state).unwrap_err().to_string().contains("another absorption run"));
    let all = other.readers().to_vec();
    let spec = AbsorptionSpec { random_seed: 7, ..other.spec().clone() };
    let mut reseeded = AbsorptionRun::new(spec, all, tokenizer, true).unwrap();
    assert!(reseeded.restore(&state).unwrap_err().to_string().contains("another absorption run"), "other words");
    other.restore(&state).unwrap();
    assert_eq!(finish(other), expected);
}

#[test]
fn interruptions_lose_nothing() {
    let expected = finish(run());
    let mut run = run();
    let mut calls = 0_u32;
    loop {
        let mut tick = || {
            calls += 1;
            // Rarer and rarer, so that long parts get through.
            if calls.is_power_of_two() || calls.is_multiple_of(4999) { Err(Error::Interrupted) } else { Ok(()) }
        };
        match run.step(&mut tick) {
            Ok(true) | Err(Error::Interrupted) => {}
            Ok(false) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(run.finish().unwrap(), expected);
}

#[test]
fn the_demo_cannot_spell_and_that_is_said() {
    let session = SessionSpec {
        trained_sae: None,
        compress: Compress::Magnitude(0.5),
        criterion: Criterion::Magnitude,
        ..demo_spec()
    };
    let session = Session::load(&session, &mut |_| Ok(())).unwrap();
    let options = AbsorptionOptions { words: Some(120), variants: vec![Variant::Transfer], ..Default::default() };
    let mut job = AbsorptionJob::new(&session, &options).unwrap();
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
    let results = tempfile::tempdir().unwrap();
    assert!(job.finish(results.path()).unwrap().is_empty(), "no result, no file");
    let table = job.table();
    assert!(
        table.warnings.iter().any(|w| w.contains("not evaluable") && w.contains("20 are needed")),
        "{:?}",
        table.warnings
    );
    let value = |name: &str| table.rows.iter().find(|r| r.name == name).unwrap().values[0];
    assert_eq!(value("mean_full_absorption_score"), None);
    assert!(value("probe_f1").is_some() && value("letters_counted").is_some_and(|n| n < 20.0));
    assert_eq!(table.progress, 1.0);

    let refused = |options| AbsorptionJob::new(&session, &options).err().unwrap().to_string();
    for letters in [0, 27] {
        assert!(refused(AbsorptionOptions { min_letters: Some(letters), ..options.clone() }).contains("1 to 26"));
    }
    let missing = AbsorptionOptions { variants: vec![Variant::Trained], ..options.clone() };
    assert!(refused(missing).contains("trained"));
    let mut few = AbsorptionJob::new(&session, &AbsorptionOptions { words: Some(30), ..options }).unwrap();
    let message = few.step(&mut || Ok(())).unwrap_err().to_string();
    assert!(message.contains("needs at least 55 words"), "{message}");
}

#[test]
fn a_result_file_is_written_for_what_can_be_evaluated() {
    // The fixtures' model in a session, with its own SAE.
    let source = |path: &str| prunelens_core::session::Source::Path(metrics_fixture(path));
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    fs::write(&text, "abu has the first letter: A ".repeat(40)).unwrap();
    let spec = SessionSpec {
        model: source("model"),
        sae: Some(source("saes/absorption")),
        trained_sae: None,
        compress: Compress::None,
        criterion: Criterion::Magnitude,
        calibration: Some(text),
        ..demo_spec()
    };
    let session = Session::load(&spec, &mut |_| Ok(())).unwrap();
    let options = AbsorptionOptions { min_letters: Some(1), words: Some(0), ..AbsorptionOptions::default() };
    let mut job = AbsorptionJob::new(&session, &options).unwrap();
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
    let files = job.finish(folder.path()).unwrap();
    assert_eq!(files.len(), 3);
    let folder_name = files[0].parent().unwrap().file_name().unwrap();
    assert_eq!(folder_name, "absorption_first_letter");
    let read = |path: &Path| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let (file, expected) =
        (read(&files[0]), read(&metrics_fixture("schema/absorption/tiny_custom_sae_eval_results.json")));
    for part in ["eval_config", "eval_result_metrics"] {
        assert!(file[part].as_object().unwrap().keys().eq(expected[part].as_object().unwrap().keys()));
    }
    let own = &file["eval_result_unstructured"]["prunelens"];
    assert_eq!(own["prompts_digest"], read(&files[1])["eval_result_unstructured"]["prunelens"]["prompts_digest"]);
    assert_eq!(own["letters"].as_array().unwrap().len(), 26);
}
