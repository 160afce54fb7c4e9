//! Training on the demo's model: stopping and going on, what is written, what is refused.

use std::{fs, path::Path, time::Duration};

use assert_cmd::Command;
use candle_core::{DType, Device};
use prunelens_core::{
    data, demo,
    error::Error,
    model::Model,
    sae::formats,
    train::{
        Architecture, Batch, Budget, Jump, Resumable, State, TrainEvent, TrainSpec, activations::ModelActivations,
        checkpoint::Checkpoint, train,
    },
};
use serde_json::{Value, json};

fn spec() -> TrainSpec {
    TrainSpec { batch: 64, buffer: 300, dead_after: 500, ..TrainSpec::topk(4, 48, Budget::Tokens(3000)) }
}

/// One of each kind.
fn kinds() -> Vec<Architecture> {
    let batch = Batch::new(3.5);
    vec![
        Architecture::TopK { k: 4 },
        Architecture::Standard { l1: 0.1, l1_warm_up: 0.05 },
        Architecture::BatchTopK(batch),
        Architecture::Matryoshka { batch, widths: vec![6, 20, 48] },
        Architecture::Gated { l1: 0.5, l1_warm_up: 0.1 },
        Architecture::JumpRelu(Jump { l0: 0.1, pull: 0.01, ..Jump::default() }),
    ]
}

/// The demo's model and rows of its calibration text.
fn activations(model: &Model, cache: u64) -> ModelActivations<'_> {
    let tokenizer = demo::tokenizer(model).unwrap();
    let texts = demo::calibration().unwrap();
    let rows = data::rows::first_rows(&tokenizer, texts.iter().map(String::as_str), 32, true, 40).unwrap();
    ModelActivations::new(
        model,
        "blocks.1.hook_resid_post".parse().unwrap(),
        tokenizer.specials(),
        rows,
        None,
        spec().seed,
        cache,
    )
}

fn model() -> Model {
    demo::model(&Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap()
}

fn same(a: &State, b: &State) {
    let untimed = |state: &State| State { seconds: 0.0, ..state.clone() };
    assert!(untimed(a) == untimed(b), "states differ after {} and {} tokens", a.tokens, b.tokens);
}

/// Train with an interruption each time `stop` more steps are done.
fn train_in_pieces(spec: &TrainSpec, model: &Model, stop: u64, cache: u64) -> State {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path(), json!(spec));
    for piece in 0.. {
        let resumable = Resumable { checkpoint: &checkpoint, every: Duration::from_secs(3600), resume: piece > 0 };
        let steps = std::cell::Cell::new(0);
        let mut count = |event: TrainEvent| {
            if let TrainEvent::Step(_) = event {
                steps.set(steps.get() + 1);
            }
        };
        let mut tick = || if steps.get() >= stop { Err(Error::Interrupted) } else { Ok(()) };
        match train(spec, &mut activations(model, cache), Some(&resumable), &mut count, &mut tick) {
            Ok((state, _)) => {
                assert!(piece > 2, "only {piece} interruptions");
                return state;
            }
            Err(Error::Interrupted) => assert!(checkpoint.exists()),
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn stopping_and_going_on_changes_nothing() {
    let model = model();
    for kind in kinds() {
        let spec =
            TrainSpec { batch: 64, buffer: 300, dead_after: 500, ..TrainSpec::new(kind, 48, Budget::Tokens(3000)) };
        let whole = train(&spec, &mut activations(&model, 0), None, &mut |_| {}, &mut || Ok(())).unwrap().0;
        // Buffers end at other places than pieces do, and kept activations are those the model gives again.
        same(&whole, &train_in_pieces(&spec, &model, 7, 1 << 30));
        same(&whole, &train_in_pieces(&spec, &model, 5, 0));
    }
}

#[test]
fn a_checkpoint_of_other_settings_is_refused_by_the_key_that_differs() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let run = |spec: &TrainSpec, resume, tokens: u64| {
        let checkpoint = Checkpoint::new(folder.path(), json!(spec));
        let resumable = Resumable { checkpoint: &checkpoint, every: Duration::from_secs(3600), resume };
        let done = std::cell::Cell::new(0);
        let mut count = |event: TrainEvent| {
            if let TrainEvent::Step(figures) = event {
                done.set(figures.tokens);
            }
        };
        let mut tick = || if done.get() > tokens { Err(Error::Interrupted) } else { Ok(()) };
        train(spec, &mut activations(&model, 0), Some(&resumable), &mut count, &mut tick).map(|(state, _)| state)
    };
    assert!(matches!(run(&spec(), false, 500), Err(Error::Interrupted)));
    let message = run(&TrainSpec { learning_rate: 0.5, ..spec() }, true, 500).unwrap_err().to_string();
    assert!(message.contains("learning_rate") && message.contains("0.5"), "{message}");
    assert!(run(&spec(), true, u64::MAX).is_ok());
}

fn prunelens(arguments: &[&str]) -> Command {
    // Nothing of the person's own: not their settings, their cache, or their hub.
    static HOME: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let mut command = Command::cargo_bin("prunelens").unwrap();
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("PRUNELENS_") || shown.starts_with("HF_") || shown.starts_with("XDG_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home);
    command.args([
        "train",
        "--text",
        "crates/prunelens-core/demo/calibration.jsonl",
        "--batch",
        "256",
        "--buffer",
        "2048",
        "--d-sae",
        "64",
    ]);
    let chooses = !["standard", "gated", "jumprelu"].iter().any(|kind| arguments.contains(kind));
    for default in [["--hook", "blocks.1.hook_resid_post"], ["--k", "4"], ["--context", "64"]] {
        if !arguments.contains(&default[0]) && (chooses || default[0] != "--k") {
            command.args(default);
        }
    }
    command.args(arguments);
    command
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_command_writes_an_sae_and_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sae");
    let out_text = out.to_str().unwrap();
    let arguments =
        ["--out", out_text, "--tokens", "6000", "--save-dtype", "f16", "--json", "--compress", "magnitude:0.5"];
    let result =
        prunelens(&arguments).args(["--eval-text", "crates/prunelens-core/demo/held_out.jsonl"]).output().unwrap();
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    assert!(result.stderr.is_empty(), "progress goes to terminals only");

    let report: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(report, json_file(&out.join("training.json")));
    assert_eq!(report["settings"]["architecture"]["topk"]["k"], 4);
    assert_eq!(report["data"]["compression"], "magnitude 50%");
    let held_out = &report["held_out"];
    assert!(held_out["l0"].as_f64().unwrap() <= 4.0);
    assert!(held_out["explained_variance"].as_f64().unwrap() > 0.1, "{held_out}");
    assert!(held_out["ce_loss_score"].is_number());

    let config = json_file(&out.join("cfg.json"));
    for (key, value) in [
        ("architecture", json!("topk")),
        ("k", json!(4)),
        ("d_in", json!(192)),
        ("d_sae", json!(64)),
        ("normalize_activations", json!("none")),
        ("reshape_activations", json!("none")),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert_eq!(config["metadata"]["hook_name"], "blocks.1.hook_resid_post");
    assert_eq!(config["metadata"]["dataset_path"], "calibration.jsonl");
    let sae = formats::load(&out).unwrap();
    for row in sae.w_dec.to_vec2::<f32>().unwrap() {
        assert!((row.iter().map(|w| w * w).sum::<f32>().sqrt() - 1.0).abs() < 1e-2, "decoder rows keep length 1");
    }
    assert!(!out.join("checkpoint.safetensors").exists());

    let again = prunelens(&arguments).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already holds an SAE"));
}

#[test]
fn every_kind_is_written_as_it_is_used() {
    for (kind, saved, flags) in [
        ("standard", "standard", ["--l1", "0.5"].as_slice()),
        // So few steps are not enough for a mean over a hundred of them.
        ("batchtopk", "jumprelu", &["--k", "3.5", "--threshold-rate", "0.2"]),
        ("matryoshka", "jumprelu", &["--widths", "8,24", "--threshold-rate", "0.2"]),
        ("gated", "gated", &["--l1", "0.5"]),
        ("jumprelu", "jumprelu", &["--l0", "0.1", "--bandwidth", "0.2"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("sae");
        let arguments = ["--architecture", kind, "--out", out.to_str().unwrap(), "--tokens", "4000", "--json"];
        let result = prunelens(&[&arguments, flags].concat())
            .args(["--compress", "none", "--eval-text", "crates/prunelens-core/demo/held_out.jsonl"])
            .output()
            .unwrap();
        assert!(result.status.success(), "{kind}: {}", String::from_utf8_lossy(&result.stderr));
        let report: Value = serde_json::from_slice(&result.stdout).unwrap();
        assert!(report["settings"]["architecture"][kind].is_object(), "{kind}: {}", report["settings"]);
        let config = json_file(&out.join("cfg.json"));
        assert_eq!(config["architecture"], saved, "{kind}");
        // What is measured is what was saved: a wrong threshold or scale would show.
        let (trained, held_out) = (&report["training"], &report["held_out"]);
        let number = |of: &Value, name: &str| of[name].as_f64().unwrap();
        let [trained_l0, l0] = [trained, held_out].map(|of| number(of, "l0"));
        assert!(l0 < 2.5 * trained_l0 && trained_l0 < 2.5 * l0, "{kind}: L0 {trained_l0}, held out {l0}");
        assert!(number(held_out, "explained_variance") > 0.1, "{kind}: {held_out}");
        for row in formats::load(&out).unwrap().w_dec.to_vec2::<f32>().unwrap() {
            assert!((row.iter().map(|w| w * w).sum::<f32>().sqrt() - 1.0).abs() < 1e-4, "{kind}: rows have length 1");
        }
    }
}

#[test]
fn impossible_requests_are_refused_before_work_begins() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let refused = |arguments: &[&str]| {
        let arguments = [&["--out", out, "--compress", "none"], arguments].concat();
        let result = prunelens(&arguments).output().unwrap();
        assert!(!result.status.success());
        (result.status.code().unwrap(), String::from_utf8_lossy(&result.stderr).into_owned())
    };
    assert_eq!(refused(&[]).0, 2, "a budget is needed");
    let (code, message) = refused(&["--tokens", "100", "--k", "65"]);
    assert!(code == 2 && message.contains("k is 65"), "{message}");
    for (flags, expected) in [
        (["--architecture", "topk", "--k", "2.5"].as_slice(), "--k 2.5: topk takes a whole number"),
        (&["--architecture", "gated", "--l0", "2"], "--l0 is for jumprelu; --architecture is gated"),
        (&["--l1", "2"], "--l1 is for standard, gated; --architecture is topk"),
        (&["--architecture", "matryoshka", "--widths", "24,8"], "the widths are [24, 8, 64]"),
        (&["--architecture", "batchtopk", "--threshold-rate", "2"], "the rate of the threshold is 2"),
        (&["--architecture", "jumprelu", "--l0-loss", "quadratic"], "needs --target-l0"),
        (&["--architecture", "jumprelu", "--target-l0", "4"], "--target-l0 is for --l0-loss quadratic"),
        (&["--architecture", "jumprelu", "--bandwidth", "0"], "the bandwidth is 0"),
        (&["--clip=-1"], "the length that gradients are cut to is -1"),
    ] {
        let (code, message) = refused(&[&["--tokens", "100"], flags].concat());
        assert!(code == 2 && message.contains(expected), "{flags:?}: {message}");
    }
    let (_, message) = refused(&["--tokens", "100", "--resume"]);
    assert!(message.contains("no checkpoint"), "{message}");
    let (_, message) = refused(&["--tokens", "100", "--hook", "blocks.9.hook_resid_post"]);
    assert!(message.contains("blocks.9"), "{message}");
    let (_, message) = refused(&["--tokens", "100", "--context", "257"]);
    assert!(message.contains("--context"), "{message}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_that_resume_goes_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sae");
    let arguments = |resume: bool| {
        let mut all = vec![
            "train",
            "--text",
            "crates/prunelens-core/demo/calibration.jsonl",
            "--hook",
            "blocks.0.hook_mlp_out",
            "--d-sae",
            "32",
        ];
        all.extend(["--k", "2", "--context", "64", "--compress", "none", "--out", out.to_str().unwrap()]);
        // Far more than can be done before the signal; checkpoints come every second.
        all.extend(["--tokens", "1000000000000", "--checkpoint-every", "0.01"]);
        all.extend(resume.then_some("--resume"));
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let checkpoint = out.join("checkpoint.safetensors");
    let mut sizes = Vec::new();
    for resume in [false, true] {
        let before = fs::metadata(&checkpoint).and_then(|m| m.modified()).ok();
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("prunelens"))
            .args(arguments(resume))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(120);
        while fs::metadata(&checkpoint).and_then(|m| m.modified()).ok() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            assert!(std::time::Instant::now() < deadline, "no checkpoint after two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: the child is ours and has not been waited for, so its id is still its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        assert_eq!(child.wait().unwrap().code(), Some(130));
        sizes.push(fs::metadata(&checkpoint).unwrap().len());
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(!out.join("cfg.json").exists());
}
