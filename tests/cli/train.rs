//! Training on the demo's model: what the command writes, refuses, and goes on from.

use std::{fs, path::Path, time::Duration};

use assert_cmd::Command;
use prunelens_core::{sae::formats, train::curve};
use serde_json::{Value, json};

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
    command.env("HOME", home).env("PRUNELENS_DEVICE", "cpu");
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

/// Held-out texts, as many as show that an SAE is written as it was trained.
fn held_out(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("held_out.jsonl");
    let texts = fs::read_to_string("crates/prunelens-core/demo/held_out.jsonl").unwrap();
    fs::write(&path, texts.lines().take(6).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_command_writes_an_sae_and_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let (out, eval_text) = (folder.path().join("sae"), held_out(folder.path()));
    let out_text = out.to_str().unwrap();
    let arguments =
        ["--out", out_text, "--tokens", "6000", "--save-dtype", "f16", "--json", "--compress", "magnitude:0.5"];
    let result = prunelens(&arguments).arg("--eval-text").arg(&eval_text).output().unwrap();
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

    let again = |more: &[&str]| {
        let mut command = prunelens(&[&arguments, more].concat());
        command.arg("--eval-text").arg(&eval_text).output().unwrap()
    };
    let weights = || fs::read(out.join("sae_weights.safetensors")).unwrap();
    let (before, same) = (weights(), again(&[]));
    let said = String::from_utf8_lossy(&same.stderr).into_owned();
    assert!(same.status.success() && said.contains("trained already"), "{said}");
    assert_eq!(serde_json::from_slice::<Value>(&same.stdout).unwrap(), report);
    // What is finished is never written over, whatever is asked for.
    for (more, expected) in [
        (["--lr", "0.5"].as_slice(), "holds an SAE of another run: train.learning_rate was"),
        (&["--restart"], "holds a finished SAE, which --restart does not replace"),
    ] {
        let refused = again(more);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && message.contains(expected), "{message}");
    }
    fs::remove_file(out.join("training.json")).unwrap();
    let elsewhere = again(&[]);
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("already holds an SAE; choose another --out"));
    assert!(weights() == before);
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
            .args(["--compress", "none", "--eval-text"])
            .arg(held_out(folder.path()))
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
    let (code, message) = refused(&["--tokens", "100", "--checkpoint-every", "100000"]);
    assert!(code == 2 && message.contains("expected a number from 0 to 86400"), "{message}");
    let (_, message) = refused(&["--tokens", "100", "--hook", "blocks.9.hook_resid_post"]);
    assert!(message.contains("blocks.9"), "{message}");
    let short = folder.path().join("short.txt");
    fs::write(&short, "Too short for a row.").unwrap();
    let (code, message) = refused(&["--tokens", "100", "--eval-text", short.to_str().unwrap()]);
    assert!(code == 2 && message.contains("--eval-text does not fill one row of 64 tokens"), "{message}");
    let (_, message) = refused(&["--tokens", "100", "--context", "257"]);
    assert!(message.contains("--context"), "{message}");
}

#[test]
fn several_on_one_reading_are_what_each_is_alone_and_go_on_together() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let flags = ["--tokens", "3000", "--compress", "none"];
    let many = |more: &[&str]| {
        let hooks = ["--hook", "blocks.{0,1}.hook_resid_post", "--vary", "k=2,4", "--vary", "seed=0,1"];
        let out = place("saes");
        prunelens(&[&hooks, &flags[..], &["--out", out.to_str().unwrap()], more].concat()).output().unwrap()
    };
    let answer = |result: std::process::Output| {
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        String::from_utf8(result.stdout).unwrap()
    };
    let plan: Value = serde_json::from_str(&answer(many(&["--plan", "--json"]))).unwrap();
    assert_eq!(plan["saes"], 8);
    assert!(plan["bytes_in_all"].as_u64().unwrap() > 0 && plan["seconds"].as_f64().is_some_and(|s| s > 0.0), "{plan}");
    assert!(!place("saes").exists(), "a plan leaves nothing behind");

    let report: Value = serde_json::from_str(&answer(many(&["--json"]))).unwrap();
    assert_eq!(report["saes"].as_array().unwrap().len(), 8);
    for (hook, k, seed) in [("blocks.0.hook_resid_post", "2", "1"), ("blocks.1.hook_resid_post", "4", "0")] {
        let alone = place(&format!("alone-{k}"));
        let out = ["--hook", hook, "--k", k, "--seed", seed, "--out", alone.to_str().unwrap()];
        answer(prunelens(&[&out, &flags[..]].concat()).output().unwrap());
        let together = place("saes").join(hook).join(format!("k{k}-seed{seed}"));
        let [alone, together] =
            [alone, together].map(|folder| fs::read(folder.join("sae_weights.safetensors")).unwrap());
        assert!(alone == together, "{hook} k {k} seed {seed}");
    }

    // One that is missing is trained again; the others stay; those of other settings are refused.
    let one = place("saes/blocks.0.hook_resid_post/k2-seed0");
    let before = fs::read(one.join("sae_weights.safetensors")).unwrap();
    fs::remove_dir_all(&one).unwrap();
    let message = String::from_utf8_lossy(&many(&["--lr", "0.5"]).stderr).into_owned();
    assert!(message.contains("holds an SAE of another run") && message.contains("learning_rate"), "{message}");
    let table = answer(many(&[]));
    assert!(table.contains("explained variance, L0 and dead are running means of the training"), "{table}");
    assert!(fs::read(one.join("sae_weights.safetensors")).unwrap() == before);
}

#[cfg(unix)]
#[test]
fn a_kill_costs_nothing_but_the_time_since_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let [broken, whole] = ["broken", "whole"].map(|name| folder.path().join(name));
    let arguments = |out: &Path| {
        let mut all =
            ["train", "--text", "crates/prunelens-core/demo/calibration.jsonl", "--hook", "blocks.0.hook_mlp_out"]
                .to_vec();
        all.extend(["--d-sae", "48", "--context", "64", "--batch", "64", "--buffer", "512", "--compress", "none"]);
        all.extend(["--tokens", "60000", "--vary", "architecture=topk,jumprelu", "--vary", "seed=0,1"]);
        // As often as it goes.
        all.extend(["--checkpoint-every", "0", "--out", out.to_str().unwrap()]);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let program = || std::process::Command::new(assert_cmd::cargo::cargo_bin("prunelens"));
    let last = |out: &Path| curve::read(&out.join("jumprelu-seed1")).last().map_or(0, |report| report.tokens);
    let mut rng = prunelens_core::rng::Rng::new(3, 0);
    for _ in 0..3 {
        // By the number of tokens, not by the clock.
        let until = last(&broken) + 2000 + rng.below(12_000) as u64;
        let mut child = program().args(arguments(&broken)).stderr(std::process::Stdio::null()).spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(240);
        let checkpoint = broken.join("topk-seed0/checkpoint.safetensors");
        while last(&broken) < until || !checkpoint.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            assert!(std::time::Instant::now() < deadline, "no progress in four minutes");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for out in [&broken, &whole] {
        let done = program().args(arguments(out)).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    for name in ["topk-seed0", "topk-seed1", "jumprelu-seed0", "jumprelu-seed1"] {
        let [broken, whole] = [&broken, &whole].map(|out| out.join(name));
        let weights = |folder: &Path| fs::read(folder.join("sae_weights.safetensors")).unwrap();
        assert!(weights(&broken) == weights(&whole), "{name}");
        let steps = |folder: &Path| curve::read(folder).iter().map(|report| report.step).collect::<Vec<_>>();
        assert_eq!(steps(&broken), steps(&whole), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sae");
    let arguments = |restart: bool, k: &'static str| {
        let mut all = vec![
            "train",
            "--text",
            "crates/prunelens-core/demo/calibration.jsonl",
            "--hook",
            "blocks.0.hook_mlp_out",
            "--d-sae",
            "32",
        ];
        all.extend(["--k", k, "--context", "64", "--compress", "none", "--out", out.to_str().unwrap()]);
        // Far more than can be done before the signal; checkpoints come every second.
        all.extend(["--tokens", "1000000000000", "--checkpoint-every", "1"]);
        all.extend(restart.then_some("--restart"));
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let checkpoint = out.join("checkpoint.safetensors");
    let mut sizes = Vec::new();
    for (restart, k, goes_on) in [(false, "2", false), (false, "2", true), (true, "3", false)] {
        let before = fs::metadata(&checkpoint).and_then(|m| m.modified()).ok();
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("prunelens"))
            .args(arguments(restart, k))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(120);
        let written = || fs::metadata(&checkpoint).and_then(|m| m.modified()).ok();
        while written().is_none() || written() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            assert!(std::time::Instant::now() < deadline, "no checkpoint after two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: the child is ours and has not been waited for, so its id is still its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(130), "{said}");
        assert_eq!(said.contains("goes on from") && said.contains("--restart begins anew"), goes_on, "{said}");
        sizes.push(fs::metadata(&checkpoint).unwrap().len());
        if goes_on {
            // Of other settings, and not asked to begin anew.
            let other = std::process::Command::new(assert_cmd::cargo::cargo_bin("prunelens"))
                .args(arguments(false, "3"))
                .output()
                .unwrap();
            let message = String::from_utf8_lossy(&other.stderr).into_owned();
            assert!(
                message.contains("made with train.architecture") && message.contains("--restart to begin anew"),
                "{message}"
            );
        }
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(!out.join("cfg.json").exists());
}
