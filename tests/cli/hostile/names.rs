//! Names that a terminal would act on never reach it as they are.

use super::load;
use crate::support::{GPT2, Place, SAE, Tensors, edit_json, fixture};

const EVIL: &str = "red\x1b[31m\x1b]0;title\x07\u{9b}2J\u{202e}drawkcab\r\x08";

#[test]
fn folders() {
    let place = Place::new();
    let model = place.copy(GPT2, EVIL);
    // Read as it is, and shown escaped.
    let ran = place.run(["prune", "model", "--out", "pruned", "--model", model.to_str().unwrap()]).done().printable();
    assert!(!ran.out.contains('\u{202e}'), "{ran:#?}");
    std::fs::remove_file(model.join("config.json")).unwrap();
    let ran = load(&place, &model, &fixture(SAE), &[]).refused(1, &["config.json", "red"]);
    assert!(!ran.err.contains('\u{202e}'), "{ran:#?}");
}

#[test]
fn tensors() {
    let place = Place::new();
    let sae = place.copy(SAE, "sae");
    Tensors::edit(&sae.join("sae_weights.safetensors"), |t| {
        let tensor = t.0.remove("W_enc").unwrap();
        t.0.insert(EVIL.into(), tensor);
    });
    load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae_weights.safetensors", "W_enc"]);
}

#[test]
fn configs() {
    for key in ["hook_name", "architecture", "normalize_activations", "activation_fn_str"] {
        let place = Place::new();
        let sae = place.copy(SAE, "sae");
        edit_json(&sae.join("cfg.json"), |c| c[key] = EVIL.into());
        load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae"]);
    }
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    edit_json(&model.join("config.json"), |c| c["model_type"] = EVIL.into());
    load(&place, &model, &fixture(SAE), &[]).refused(1, &["config.json"]);
    place.write(
        "session.toml",
        format!("ratio = 0.5\n\"{}\" = 1", EVIL.replace(['\r', '\x1b', '\x07', '\x08', '\u{9b}'], "")),
    );
    place.run(["--session", "session.toml"]).refused(1, &["line 2"]);
}

#[test]
fn arguments() {
    let place = Place::new();
    place.run(["--sae", EVIL]).refused(1, &["--sae", "red"]);
    place.run(["--compress", EVIL]).refused(2, &["red"]);
    place.run([EVIL]).refused(2, &["red"]);
}
