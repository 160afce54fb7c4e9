//! The sweep as a job: the same figures as the core metric, one by one; breaks; layers; refusals.

use std::{fs, path::PathBuf};

use prunelens_core::{
    compare::Variant,
    sae::Criterion,
    session::{Compress, SessionSpec, Source},
};
use prunelens_metrics::{
    Job, Metric, Step,
    core::{CoreJob, CoreOptions},
    details::DetailKind,
    sweep::{Mode, SweepJob, SweepOptions},
};
use serde_json::Value;

use crate::support::{demo_spec, finish, fixtures, read_json, session};

/// Quick to load: nothing is calibrated.
fn quick() -> SessionSpec {
    SessionSpec { compress: Compress::Magnitude(0.5), criterion: Criterion::Magnitude, ..demo_spec() }
}

fn options() -> SweepOptions {
    SweepOptions { ratios: vec![0.5, 0.9], rows: Some(4), context: Some(24), batch: Some(2), ..SweepOptions::default() }
}

fn points(file: &Value) -> &Vec<Value> {
    file["eval_result_details"].as_array().unwrap()
}

#[test]
fn bits_are_swept_as_ratios_are() {
    let session = session(quick());
    let results = tempfile::tempdir().unwrap();
    let knob = Some("bits".parse().unwrap());
    let bits = SweepOptions { knob, ratios: vec![2.0, 8.0], ..options() };
    let mut sweep = SweepJob::new(&session, &bits).unwrap();
    let files = finish(&mut sweep, results.path()).unwrap();
    let pruned = points(&files[2]);
    assert_eq!(pruned.iter().map(|p| p["bits"].as_u64().unwrap()).collect::<Vec<_>>(), [32, 8, 2]);
    assert_eq!(files[2]["eval_config"]["knob"], "bits");
    assert_eq!(pruned[0]["ce_loss_with_sae"], points(&files[1])[0]["ce_loss_with_sae"], "untouched is transfer");
    let core = CoreOptions { rows: Some(4), context: Some(24), batch: Some(2), ..CoreOptions::default() };
    for (point, knob) in pruned.iter().skip(1).zip(["bits:8", "bits:2"]) {
        let core = CoreOptions { knob: Some(knob.parse().unwrap()), ..core.clone() };
        let core = finish(&mut CoreJob::new(&session, &core).unwrap(), results.path()).unwrap();
        let metrics = &core[2]["eval_result_metrics"];
        assert_eq!(point["kl_div_with_sae"], metrics["model_behavior_preservation"]["kl_div_with_sae"], "{knob}");
        assert_eq!(point["frac_alive"], metrics["misc_metrics"]["frac_alive"], "{knob}");
    }
    let wrong = SweepOptions { knob, ratios: vec![0.5], ..options() };
    assert!(SweepJob::new(&session, &wrong).err().unwrap().to_string().contains("2 to 8 bits"));
    let ranked = SweepOptions { criteria: vec![Criterion::Wanda, Criterion::Random], ..bits.clone() };
    let refused = SweepJob::new(&session, &ranked).err().unwrap().to_string();
    assert!(refused.contains("--criteria") && refused.contains("--knob bits"), "{refused}");
    assert!(SweepJob::new(&session, &SweepOptions { criteria: vec![Criterion::Magnitude], ..bits }).is_ok());
}

#[test]
fn every_point_is_what_the_core_metric_gives_at_its_ratio() {
    let session = session(quick());
    let results = tempfile::tempdir().unwrap();
    let mut sweep = SweepJob::new(&session, &options()).unwrap();
    assert!(sweep.finish(results.path()).unwrap_err().to_string().contains("not finished"));
    let files = finish(&mut sweep, results.path()).unwrap();
    assert_eq!(files.len(), 4);
    assert_eq!(sweep.table().variants, Variant::ALL);
    let pruned = &files[2];
    assert_eq!(pruned["eval_type_id"], "sweep");
    assert_eq!(points(pruned).iter().map(|p| p["ratio"].as_f64().unwrap()).collect::<Vec<_>>(), [0.0, 0.5, 0.9]);
    for (at, ratio) in [0.0, 0.5, 0.9].into_iter().enumerate() {
        let core = CoreOptions {
            rows: Some(4),
            context: Some(24),
            batch: Some(2),
            ratio: Some(ratio),
            criterion: Some(Criterion::Magnitude),
            ..CoreOptions::default()
        };
        let core = finish(&mut CoreJob::new(&session, &core).unwrap(), results.path()).unwrap();
        let same = |point: &Value, core: &Value| {
            let metrics = &core["eval_result_metrics"];
            for (name, category) in [
                ("ce_loss_with_sae", "model_performance_preservation"),
                ("ce_loss_score", "model_performance_preservation"),
                ("ce_loss_without_sae", "model_performance_preservation"),
                ("kl_div_with_sae", "model_behavior_preservation"),
                ("explained_variance", "reconstruction_quality"),
                ("mse", "reconstruction_quality"),
                ("l0", "sparsity"),
                ("frac_alive", "misc_metrics"),
            ] {
                assert_eq!(point[name], metrics[category][name], "{name} at {ratio}");
            }
            let own = &core["eval_result_unstructured"]["prunelens"];
            assert_eq!(point["variance_explained"], own["variance_explained"]);
            assert_eq!(point["mse_per_element"], own["mse_per_element"]);
        };
        same(&points(pruned)[at], &core[2]);
        for other in [0, 1, 3] {
            same(&points(&files[other])[0], &core[other]);
        }
    }
    // The layout of result files, and the curves for the screen.
    let core = read_json(&fs::read_dir(results.path().join("core")).unwrap().next().unwrap().unwrap().path());
    assert!(pruned.as_object().unwrap().keys().eq(core.as_object().unwrap().keys()));
    let details = sweep.details();
    let DetailKind::Lines { series, .. } = &details[0].kind else { panic!("{}", details[0].title) };
    assert_eq!(
        series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["original", "transfer", "trained", "pruned magnitude"]
    );
    assert_eq!(series[3].points.len(), 3);
    let passes = sweep.table().settings.iter().find(|(name, _)| name == "passes").unwrap().1.clone();
    assert!(passes.contains("to the hook 2 times") && passes.contains("with one 5 times"), "{passes}");
}

#[test]
fn a_sweep_taken_up_again_gives_the_same_bits() {
    let session = session(quick());
    let results = tempfile::tempdir().unwrap();
    for mode in [Mode::Masked, Mode::Paper] {
        let options = SweepOptions { criteria: vec![Criterion::Magnitude, Criterion::Random], mode, ..options() };
        let details = |files: Vec<Value>| files.iter().map(|f| points(f).clone()).collect::<Vec<_>>();
        let mut whole = SweepJob::new(&session, &options).unwrap();
        let expected = details(finish(&mut whole, results.path()).unwrap());
        let blocks = whole.table().blocks;
        let at: Vec<_> = blocks.iter().filter_map(|blocks| blocks.at.clone()).collect();
        let named = ["magnitude", "random"].map(|name| [0.0, 0.5, 0.9].map(|ratio| (name.to_owned(), ratio)));
        match mode {
            Mode::Masked => assert_eq!((at, blocks.len()), (named.concat(), 9)),
            Mode::Paper => assert!(blocks.is_empty(), "a figure is a mean of batches"),
        }
        let mut state: Option<Vec<u8>> = None;
        let found = loop {
            let mut job = SweepJob::new(&session, &options).unwrap();
            if let Some(state) = &state {
                job.restore(state).unwrap();
                assert_eq!(job.state().unwrap(), *state, "nothing is lost before the next step");
            }
            // The first step only sets up.
            let steps = (0..4).map(|_| job.step(&mut || Ok(())).unwrap()).collect::<Vec<_>>();
            if steps.contains(&Step::Done) {
                let found = details(finish(&mut job, results.path()).unwrap());
                assert!(job.table().blocks == blocks, "{mode:?}");
                break found;
            }
            state = Some(job.state().unwrap());
        };
        assert_eq!(found, expected, "{mode:?}");
        let mut other = SweepJob::new(&session, &SweepOptions { ratios: vec![0.1], ..options }).unwrap();
        let refused = other.restore(&state.unwrap()).and_then(|()| other.step(&mut || Ok(())).map(|_| ()));
        assert!(refused.unwrap_err().to_string().contains("start it anew"), "{mode:?}");
    }
}

#[test]
fn papers_loss_counts_every_position_of_padded_documents() {
    let session = session(quick());
    let results = tempfile::tempdir().unwrap();
    let text = results.path().join("text.jsonl");
    let lines = ["The army and the navy.", "She had been in love with him for a year, and he knew it.", "No."];
    fs::write(&text, lines.map(|l| format!("{}\n", serde_json::json!({ "text": l }))).concat()).unwrap();
    let options = SweepOptions {
        text: Some(text),
        mode: Mode::Paper,
        rows: Some(3),
        context: Some(12),
        batch: Some(2),
        variants: vec![Variant::Transfer, Variant::Pruned],
        ..options()
    };
    let files = finish(&mut SweepJob::new(&session, &options).unwrap(), results.path()).unwrap();
    assert_eq!(
        (files[0]["eval_config"]["mode"].clone(), files[0]["eval_config"]["rows"].clone()),
        ("paper".into(), 3.into())
    );

    // The same by hand: two batches, each padded with id 0, the mean of their means.
    let model = &session.models.pruned;
    let mut means = Vec::new();
    for batch in lines.chunks(2) {
        let mut rows: Vec<Vec<u32>> = batch.iter().map(|l| session.models.tokenizer.encode(l, true).unwrap()).collect();
        rows.iter_mut().for_each(|row| row.truncate(12));
        let longest = rows.iter().map(Vec::len).max().unwrap();
        rows.iter_mut().for_each(|row| row.resize(longest, 0));
        let tokens = prunelens_core::session::token_tensor(&rows, model).unwrap();
        let captured = model.capture(&tokens, session.hook, &mut || Ok(())).unwrap();
        let last = model.finish(&captured, &mut || Ok(())).unwrap();
        let logits = model.logits(&last).unwrap().to_vec3::<f32>().unwrap();
        let mut losses = Vec::new();
        for (row, logits) in rows.iter().zip(&logits) {
            for (logits, &target) in logits.iter().zip(&row[1..]) {
                let top = logits.iter().copied().fold(f32::MIN, f32::max);
                let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
                losses.push(sum.ln() - f64::from(logits[target as usize] - top));
            }
        }
        means.push(losses.iter().sum::<f64>() / losses.len() as f64);
    }
    let expected = (means[0] + means[1]) / 2.0;
    for file in &files {
        let found = points(file)[0]["ce_loss_without_sae"].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        assert_eq!(points(file)[0]["l0"], -1, "not measured");
    }
}

#[test]
fn layers_have_saes_of_their_own() {
    let fixtures = fixtures().join("metrics");
    let folder = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(fixtures.join("saes/standard_resid/cfg.json")).unwrap();
    for layer in 0..3 {
        let at = folder.path().join(format!("l{layer}"));
        fs::create_dir(&at).unwrap();
        fs::copy(fixtures.join("saes/standard_resid/sae_weights.safetensors"), at.join("sae_weights.safetensors"))
            .unwrap();
        let config = config.replace("blocks.1.", &format!("blocks.{layer}."));
        let config = config.replace("\"hook_layer\": 1", &format!("\"hook_layer\": {layer}"));
        fs::write(at.join("cfg.json"), config).unwrap();
    }
    let pattern = folder.path().join("l{layer}");
    let text = folder.path().join("text.txt");
    fs::write(&text, "abu has the first letter: A zeb has the first letter: Z ".repeat(20)).unwrap();
    let session = session(SessionSpec {
        model: Source::Path(fixtures.join("model")),
        sae: Some(Source::Path(folder.path().join("l0"))),
        trained_sae: None,
        calibration: Some(text.clone()),
        text: Some(text),
        ..quick()
    });
    let swept =
        |layers: Vec<usize>, sae: Option<PathBuf>| SweepJob::new(&session, &SweepOptions { layers, sae, ..options() });
    let mut job = swept(vec![0, 1, 2], Some(pattern.clone())).unwrap();
    let files = finish(&mut job, folder.path()).unwrap();
    assert_eq!(files.len(), 3 * 3);
    let hooks: Vec<_> = files.iter().map(|f| f["sae_cfg_dict"]["metadata"]["hook_layer"].as_u64().unwrap()).collect();
    assert_eq!(hooks, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    let loss = |at: usize| points(&files[at])[0]["ce_loss_with_sae"].as_f64().unwrap();
    assert!(loss(0) != loss(3) && loss(3) != loss(6));
    let details = job.details();
    let DetailKind::Table { rows, .. } = &details[0].kind else { panic!("{}", details[0].title) };
    assert_eq!(rows.len(), 3);

    let refused = |layers, sae| swept(layers, sae).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused(vec![3], Some(pattern.clone())).contains("layer 3 does not exist"));
    assert!(refused(vec![0, 1], None).contains("{layer}"));
    assert_eq!(refused(vec![0], None), "");
    assert!(refused(vec![], Some(pattern.clone())).contains("say which layers"));
    assert!(refused(vec![0, 1], Some(folder.path().join("m{layer}"))).contains("m0"));
    // An SAE that reads another layer than its name says.
    fs::write(folder.path().join("l2/cfg.json"), &config).unwrap();
    let message = finish(&mut swept(vec![2], Some(pattern)).unwrap(), folder.path()).unwrap_err().to_string();
    assert!(message.contains("expected an SAE of layer 2") && message.contains("blocks.1."), "{message}");
}

#[test]
fn refusals() {
    let session = session(SessionSpec { trained_sae: None, ..quick() });
    let refused = |options| SweepJob::new(&session, &options).err().unwrap().to_string();
    assert!(refused(SweepOptions { ratios: vec![1.0], ..options() }).contains("from 0 to 0.99"));
    assert!(refused(SweepOptions { ratios: vec![0.0], ..options() }).contains("at least one ratio above 0"));
    assert!(refused(SweepOptions { context: Some(1000), ..options() }).contains("2 to 256"));
    let mut trained = SweepJob::new(&session, &SweepOptions { variants: vec![Variant::Trained], ..options() }).unwrap();
    assert!(trained.step(&mut || Ok(())).unwrap_err().to_string().contains("trained"));
}
