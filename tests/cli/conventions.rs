//! What the field's tools decide where files say nothing, or more than one thing.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{GPT2, Place, edit_json, fixture, fixtures};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The paper's SAEs read the processed model, from wherever their release is opened.
#[test]
fn a_release_is_known_by_its_folder_from_within_it() {
    let place = Place::new();
    let name = "gpt2-small-blocks.1.hook_resid_post-standard-mycfg";
    let release = "sae-compression-gpt-2-small-trained-sae-openwebtext-wanda";
    let model = fixture(GPT2);
    let read = |folder: &str, release: &str| -> Value {
        let sae = place.copy(&format!("saes/gpt2/{folder}/{name}"), &format!("{release}/{name}"));
        let mut command = place.command();
        command.current_dir(sae.parent().unwrap());
        command.args(["inspect", "ab cd ef", "--compress", "none", "--json", "--sae", name, "--model", text(&model)]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let space = |read: &Value| read["space"].as_str().unwrap().to_owned();
    assert_eq!(space(&read(release, release)), "tl");
    // Somebody's own folder that has such a name.
    assert_eq!(space(&read(release, "sae-compression-runs")), "raw");
}

#[test]
fn transcoders_are_refused_whatever_hook_is_given() {
    let place = Place::new();
    let scope = fixture("saes/gemma2/gemma-scope-2b-pt-mlp");
    let file = walk(&scope).into_iter().find(|path| path.extension().is_some_and(|e| e == "npz")).unwrap();
    let folder = "gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_8";
    let path = place.write(&format!("{folder}/params.npz"), fs::read(file).unwrap());
    let model = fixture("models/gemma2");
    for hook in [&[][..], &["--hook", "blocks.1.hook_mlp_out"]] {
        let args = ["inspect", "a", "--model", text(&model), "--sae", text(path.parent().unwrap())];
        place.run(args.iter().chain(hook)).refused(1, &["transcoder", "not an autoencoder"]);
    }
    let scope = walk(&fixture("saes/gemma3/gemma-scope-2-1b-pt/mlp_out"));
    for file in scope.iter().filter(|path| path.file_name().is_some_and(|name| name == "params.safetensors")) {
        let name = "gemma-scope-2-1b-pt/transcoder/layer_2_width_16k_l0_small/params.safetensors";
        place.write(name, fs::read(file).unwrap());
    }
    let sae = place.path("gemma-scope-2-1b-pt/transcoder/layer_2_width_16k_l0_small");
    let args = ["inspect", "a", "--sae", text(&sae), "--hook", "blocks.2.hook_mlp_out"];
    let model = fixture("models/gemma3");
    place.run(args.into_iter().chain(["--model", text(&model)])).refused(1, &["transcoder", "not an autoencoder"]);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn names_that_gptq_configs_have_for_one_thing() {
    let place = Place::new();
    let from = fixtures().join("compressed/models/gptq-w8-g64-sym");
    let figures = |changed: Option<Value>| {
        let model = place.copy_of(&from, "model");
        if let Some(changed) = &changed {
            edit_json(&model.join("config.json"), |config| {
                let of = config["quantization_config"].as_object_mut().unwrap();
                let (bits, group) = (of.remove("bits").unwrap(), of.remove("group_size").unwrap());
                of.extend([("w_bit".into(), bits), ("q_group_size".into(), group)]);
                of.extend(changed.as_object().unwrap().clone());
            });
        }
        place.run(["inspect", "model", text(&model), "--json"])
    };
    let plain = figures(None).done().json();
    let named = figures(Some(json!({ "checkpoint_format": "gemm" }))).done().json();
    assert_eq!(plain["tensors"], named["tensors"]);
    figures(Some(json!({ "bits": 4 }))).refused(1, &["w_bit", "expected what bits says, 4, found 8"]);
}

/// TransformerLens never asks the model's config.
#[test]
fn the_eos_stands_in_where_a_tokenizer_has_no_bos() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    edit_json(&model.join("tokenizer_config.json"), |config| {
        config["bos_token"] = Value::Null;
    });
    let read = |other: bool| {
        if other {
            edit_json(&model.join("config.json"), |config| config["bos_token_id"] = json!(5));
        }
        let sae = fixture(crate::support::SAE);
        place.run(["inspect", "ab cd", "--json", "--model", text(&model), "--sae", text(&sae)])
    };
    let ids = read(false).done().json()["tokens"].clone();
    let ran = read(true);
    let found = ran.json();
    assert_eq!(found["tokens"], ids);
    assert!(found["warnings"].to_string().contains("texts begin with its EOS"), "{found}");
}

#[test]
fn a_calibration_is_as_long_as_asked_for() {
    let place = Place::new();
    let calibration = |args: &[&str]| {
        let inspect = ["inspect", "the river", "--json"];
        place.run(inspect.iter().chain(args))
    };
    let label = |args: &[&str]| {
        let found = calibration(args).done().json();
        found["models"]["pruned"]["calibration"].as_str().unwrap().to_owned()
    };
    assert!(label(&[]).ends_with("32 x 256 tokens"));
    assert!(label(&["--calibration-rows", "3", "--calibration-length", "40"]).ends_with("3 x 40 tokens"));
    calibration(&["--calibration-length", "90000"]).refused(2, &["--calibration-length 90000", "can read"]);
    calibration(&["--calibration-rows", "0"]).refused(2, &["--calibration-rows"]);
}
