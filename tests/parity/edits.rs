//! Edits of latents and generation, beside SAELens' hooked models and greedy loops over whole passes, recorded.
//!
//! The folder is `PRUNELENS_EDITS_FIXTURES` if set, else `tests/fixtures/edits`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    compare::{Prompt, Variant, splice::mean},
    edit::Edits,
    generate::{Choice, Continuation},
    session::{DeviceSpec, Processing, Session, SessionSpec, Source},
};
use serde_json::Value;

use crate::support::{fixtures, floats, session};

fn root() -> PathBuf {
    std::env::var_os("PRUNELENS_EDITS_FIXTURES").map_or_else(|| fixtures().join("edits"), PathBuf::from)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key}"))
}

/// The session that a case's flags ask for.
fn load(root: &Path, case: &Value) -> Session {
    let flags: Vec<&str> = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    let flag = |name: &str| flags.iter().position(|f| *f == name).map(|at| flags[at + 1]);
    let path = |name: &str| Some(Source::Path(root.join(flag(name)?)));
    assert_eq!(flag("--criterion"), Some("wanda"));
    session(SessionSpec {
        model: path("--model").unwrap(),
        pruned_model: path("--pruned-model"),
        sae: path("--sae"),
        trained_sae: None,
        hook: flag("--hook").map(|hook| hook.parse().unwrap()),
        calibration: flag("--calibration").map(|file| root.join(file)),
        processing: flag("--tl-processing").unwrap().parse::<Processing>().unwrap(),
        norm_scaling_factor: flag("--norm-scaling-factor").map(|factor| factor.parse().unwrap()),
        ratio: flag("--ratio").unwrap().parse().unwrap(),
        device: DeviceSpec::Cpu,
        ..SessionSpec::demo()
    })
}

fn edits(case: &Value) -> Edits {
    let list = case["edits"].as_array().unwrap().iter().map(|edit| edit.as_str().unwrap().parse().unwrap()).collect();
    Edits { list, error: text(case, "error").parse().unwrap() }
}

/// Less the mean over the vocabulary, where that is what can be compared.
fn logits(t: &Tensor, compare: &str) -> Vec<f32> {
    let t = t.to_dtype(DType::F32).unwrap();
    let t = if compare == "centred" { t.broadcast_sub(&t.mean_keepdim(1).unwrap()).unwrap() } else { t };
    floats(&t)
}

fn close(what: &str, got: &[f32], want: &[f32], tolerance: &Value) {
    assert_eq!(got.len(), want.len(), "{what}");
    let [atol, rtol] = ["atol", "rtol"].map(|key| tolerance[key].as_f64().unwrap() as f32);
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= atol + rtol * want.abs(), "{what}: value {at} is {got}, expected {want}");
    }
}

fn variant(name: &str) -> Variant {
    Variant::ALL.into_iter().find(|variant| variant.name() == name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn edits_are_those_of_saelens() {
    let root = root();
    // Python writes infinities that JSON does not have.
    let index = std::fs::read_to_string(root.join("index.json")).unwrap().replace("Infinity", "null");
    let index: Value = serde_json::from_str(&index).unwrap();
    let tolerances = &index["tolerances"];
    let (mut compared, mut continued) = (0, 0);
    let tick: prunelens_core::progress::Tick = &mut || Ok(());
    for sae in index["saes"].as_array().unwrap() {
        let (id, session) = (text(sae, "id"), load(&root, sae));
        let expected = candle_core::safetensors::load(root.join(text(sae, "expected")), &Device::Cpu).unwrap();
        let prompt = text(sae, "prompt");
        let readers = session.readers(session.setting).unwrap();
        let tokens = session.tokens(prompt).unwrap();
        let mut prompt = Prompt::read(prompt, tokens, readers, session.setting, tick).unwrap();
        for case in sae["cases"].as_array().unwrap() {
            for (name, figures) in case["edited"].as_object().unwrap() {
                let what = format!("{id} {} {name}", text(case, "name"));
                let edited = prompt.edited(variant(name), &edits(case), tick).unwrap().unwrap();
                let want = &expected[&format!("{}.{name}.edited_logits", text(case, "name"))];
                let compare = text(sae, "compare");
                let got = logits(&edited.logits().unwrap(), compare);
                close(&what, &got, &logits(want, compare), &tolerances["logits"]);
                let (ce, kl) = (mean(&edited.losses.ce) as f32, mean(&edited.losses.kl) as f32);
                for (key, got) in [("ce_loss", ce), ("kl_div", kl)] {
                    let want = figures[key].as_f64().unwrap() as f32;
                    close(&format!("{what} {key}"), &[got], &[want], &tolerances[key]);
                }
                compared += 1;
            }
        }
        for case in sae["generate"].as_array().unwrap() {
            let ids: Vec<u32> = session.tokens(text(case, "prompt")).unwrap().iter().map(|t| t.id).collect();
            assert_eq!(serde_json::json!(ids), case["prompt_tokens"], "{id}");
            let models = [("original", &session.models.original), ("pruned", &session.models.pruned)];
            let mut check = |name: &str, mut going: Continuation, want: &Value| {
                let n = want.as_array().unwrap().len();
                let got: Vec<u32> = (0..n).map(|_| going.next(tick).unwrap()).collect();
                assert_eq!(serde_json::json!(got), *want, "{id} {} {name}", text(case, "name"));
                continued += 1;
            };
            for (name, model) in models {
                let going = Continuation::new(model, None, &ids, &Choice::GREEDY, &mut || Ok(())).unwrap();
                check(name, going, &case["models"][name]);
            }
            for (name, want) in case["variants"].as_object().unwrap() {
                let reader = session.reader(variant(name), session.setting).unwrap().unwrap();
                let model = reader.model.clone();
                let edits = Some((reader, edits(case)));
                let going = Continuation::new(&model, edits, &ids, &Choice::GREEDY, &mut || Ok(())).unwrap();
                check(name, going, want);
            }
        }
    }
    println!("edits: {compared} compared, {continued} continued");
    assert!(compared >= 96 && continued >= 80, "{compared} compared, {continued} continued");
}
