//! Disks that take no more.

use std::{fs, os::unix::process::CommandExt, process::Command};

use crate::support::{GPT2, Place, Ran, fixture};

/// Files of the command may not grow beyond this: what a full disk or a quota does.
pub fn limit(command: &mut Command, bytes: u64) -> &mut Command {
    // SAFETY: setrlimit is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::new();
    place.write("out/model.safetensors", "old");
    let mut command = place.command();
    command.args(["prune", "model", "--force", "--out", "out", "--model"]).arg(fixture(GPT2));
    let ran = Ran::from(limit(&mut command, 50_000).output().unwrap());
    ran.refused(1, &["out: not written", "File too large", "nothing there has changed"]);
    assert_eq!(fs::read(place.path("out/model.safetensors")).unwrap(), b"old");
    assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 1);
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only home and out: {left:?}");
}

#[test]
fn a_log_that_hits_the_limit_stops_nothing() {
    let place = Place::new();
    let ran = Ran::from(limit(place.command().arg("doctor"), 0).output().unwrap());
    // The answer goes to a pipe, which has no size.
    ran.done();
}

#[test]
fn a_training_outlives_a_full_disk() {
    let place = Place::new();
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/prunelens-core/demo/calibration.jsonl");
    let train = || {
        let mut command = place.command();
        command.args([
            "train",
            "--compress",
            "none",
            "--text",
            text,
            "--hook",
            "blocks.0.hook_mlp_out",
            "--d-sae",
            "64",
        ]);
        command.args([
            "--k",
            "4",
            "--context",
            "64",
            "--batch",
            "64",
            "--buffer",
            "512",
            "--tokens",
            "4000",
            "--out",
            "sae",
        ]);
        command
    };
    // Smaller than the SAE.
    let ran = Ran::from(limit(&mut train(), 40_000).output().unwrap());
    ran.refused(1, &["sae_weights.safetensors", "not saved"]);
    assert!(!place.path("sae/cfg.json").exists());
    // Larger than the SAE, smaller than a checkpoint: what is trained is written all the same.
    Ran::from(limit(&mut train(), 200_000).output().unwrap()).done();
    assert!(place.path("sae/cfg.json").exists() && !place.path("sae/checkpoint.safetensors").exists());
}
