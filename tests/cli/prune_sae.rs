//! `prunelens prune sae`: what it writes, read back.

use std::{fs, path::Path};

use candle_core::Tensor;
use prunelens_core::{
    error::Result,
    progress::Progress,
    sae::{Knob, formats},
    session::{Layer, Session, SessionSpec, Source, silent},
};
use serde_json::json;

use crate::support::{GPT2, Place, SAE, demo_spec, edit_json, fixture};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn quiet(progress: Progress) -> Result<()> {
    silent(progress)
}

fn spec(model: &Path, compress: &str) -> SessionSpec {
    let model = Source::Path(model.to_path_buf());
    SessionSpec { model, compress: compress.parse().unwrap(), sae: None, trained_sae: None, ..demo_spec() }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_pruned_sae_is_the_one_in_memory() {
    let place = Place::new();
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    for criterion in ["wanda", "paper", "magnitude", "random"] {
        let out = place.path(criterion);
        let report = place
            .run([
                "prune",
                "sae",
                "--model",
                text(&model),
                "--sae",
                text(&sae),
                "--ratio",
                "0.37",
                "--criterion",
                criterion,
                "--no-bos",
                "--out",
                text(&out),
                "--json",
            ])
            .done()
            .json();
        let spec = SessionSpec { sae: Some(Source::Path(sae.clone())), ..spec(&model, "wanda:0.5") };
        let session = Session::load(&spec, &mut quiet).unwrap();
        let pruning = session.pruning(Knob::Ratio(criterion.parse().unwrap()).at(0.37), &mut || Ok(())).unwrap();
        let expected = session.sae.pruned(Some(&pruning)).unwrap();
        let found = formats::load(&out).unwrap();
        assert_eq!(values(&expected.w_enc), values(&found.w_enc), "{criterion}");
        assert_eq!(values(&expected.w_dec), values(&found.w_dec), "{criterion}");
        assert_eq!((&expected.b_enc, &expected.b_dec), (&found.b_enc, &found.b_dec));
        assert_eq!(fs::read(sae.join("cfg.json")).unwrap(), fs::read(out.join("cfg.json")).unwrap());

        // floor(36 * 0.37) of each group of 36, floor(128 * 0.37) of each of 128.
        let zeros = |at: usize| report["matrices"][at]["zeros"].as_u64().unwrap();
        let (by_36, by_128) = (13 * 128, 47 * 36);
        let expected = if criterion == "paper" { (by_128, by_36) } else { (by_36, by_128) };
        assert_eq!((zeros(0), zeros(1)), expected, "{criterion}");
        assert_eq!(report["settings"]["criterion"], criterion);
        let saved: serde_json::Value = serde_json::from_slice(&fs::read(out.join("pruning.json")).unwrap()).unwrap();
        assert_eq!(saved, report);
    }
}

#[test]
fn an_sae_is_written_at_any_setting() {
    let place = Place::new();
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    for knob in ["bits:3", "rank:9", "latents:0.4"] {
        let out = place.path(&knob.replace(':', "-"));
        let args = [
            "prune",
            "sae",
            "--model",
            text(&model),
            "--sae",
            text(&sae),
            "--knob",
            knob,
            "--no-bos",
            "--out",
            text(&out),
            "--json",
        ];
        let report = place.run(args).done().json();
        let (name, value) = knob.split_once(':').unwrap();
        assert_eq!(report["settings"]["knob"], name);
        assert_eq!(report["settings"][name].to_string(), value);
        let own = SessionSpec {
            sae: Some(Source::Path(sae.clone())),
            knob: knob.parse().unwrap(),
            ..spec(&model, "wanda:0.5")
        };
        let session = Session::load(&own, &mut quiet).unwrap();
        let expected = session.sae.pruned(Some(&session.pruning(session.setting, &mut || Ok(())).unwrap())).unwrap();
        let found = formats::load(&out).unwrap();
        assert_eq!(values(&expected.w_enc), values(&found.w_enc), "{knob}");
        assert_eq!(values(&expected.w_dec), values(&found.w_dec), "{knob}");
        assert_eq!((&expected.b_enc, &expected.b_dec), (&found.b_enc, &found.b_dec), "{knob}");
    }
    let wide = ["prune", "sae", "--model", text(&model), "--sae", text(&sae), "--knob", "rank:37", "--out", "x"];
    place.run(wide).refused(2, &["rank", "37", "from 1 to 36"]);
    place.run(["inspect", "a", "--knob", "bits:9"]).refused(2, &["bits", "9", "2 to 8"]);
}

/// Releases that are told by their folders' names, and what a user says besides: the pruned SAE says it of itself.
#[test]
fn what_an_sae_is_known_by_goes_with_it() {
    let place = Place::new();
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    let known = [
        (
            "sae-compression-gpt-2-small-x",
            json!({"sae_lens_training_version": "6.0.0", "normalize_activations": "none"}),
            &[][..],
        ),
        ("Mistral-7B-Residual-Stream-SAEs", json!({}), &[]),
        ("gpt2-small-mlp-out-saes", json!({"normalize_activations": "expected_average_only_in"}), &[]),
        ("factor", json!({"normalize_activations": "expected_average_only_in"}), &["--norm-scaling-factor", "0.7"]),
        ("hook", json!({"hook_name": null}), &["--hook", "blocks.0.hook_resid_post"]),
    ];
    for (release, config, given) in known {
        let folder = place.path(release).join("sae");
        fs::create_dir_all(&folder).unwrap();
        for file in ["cfg.json", "sae_weights.safetensors"] {
            fs::copy(sae.join(file), folder.join(file)).unwrap();
        }
        edit_json(&folder.join("cfg.json"), |own| {
            own.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        });
        let out = place.path(&format!("out-{}", release.len()));
        let args = ["--model", text(&model), "--compress", "none", "--no-bos"];
        let prune = ["prune", "sae", "--ratio", "0.25", "--out", text(&out), "--sae", text(&folder)];
        place.run(prune.iter().chain(&args).chain(given)).done();
        let read = |sae: &Path, ratio: &str, given: &[&str]| {
            let inspect = ["inspect", "The river keeps most", "--json", "--ratio", ratio, "--sae", text(sae)];
            let variants = place.run(inspect.iter().chain(&args).chain(given)).done().json()["variants"].clone();
            variants[if ratio == "0" { "original" } else { "pruned" }].clone()
        };
        let (expected, found) = (read(&folder, "0.25", given), read(&out, "0", &[]));
        for figure in ["mse", "l0", "explained_variance"] {
            let [expected, found] = [&expected, &found].map(|variant| variant[figure].as_f64());
            let [expected, found] =
                [expected, found].map(|value| value.unwrap_or_else(|| panic!("{release} {figure}")));
            assert!((expected - found).abs() <= 1e-5 * expected.abs(), "{release} {figure}: {found}, not {expected}");
        }
    }
}

/// Of any layout: what comes out is a SAELens folder of the same SAE.
#[test]
fn saes_of_other_layouts_are_written_as_saelens_has_them() {
    let saes = [
        ("gemma2", "gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_12/params.npz"),
        ("gpt2", "openai-v5_32k/resid_post_mlp/autoencoders/1.pt"),
        ("llama", "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L1R-8x"),
        ("llama", "sae-llama-32x/layers.1"),
        ("llama", "saebench_llama/resid_post_layer_1/trainer_0"),
        ("gemma3", "gemma-scope-2-1b-pt/attn_out/layer_2_width_16k_l0_small"),
    ];
    let place = Place::new();
    for (number, (model, sae)) in saes.into_iter().enumerate() {
        let sae = fixture(&format!("saes/{model}/{sae}"));
        let model = fixture(&format!("models/{model}"));
        let out = place.path(&format!("out-{number}"));
        let args = ["--model", text(&model), "--compress", "none", "--no-bos"];
        let prune = ["prune", "sae", "--ratio", "0.25", "--out", text(&out), "--sae", text(&sae)];
        let report = place.run(prune.iter().chain(&args)).done().out;
        assert!(report.contains("W_enc") && report.contains("W_dec"), "{report}");
        let variant = |sae: &Path, ratio: &str, name: &str| {
            let inspect = ["inspect", "The river keeps most", "--json", "--ratio", ratio, "--sae", text(sae)];
            place.run(inspect.iter().chain(&args)).done().json()["variants"][name].clone()
        };
        let (expected, found) = (variant(&sae, "0.25", "pruned"), variant(&out, "0", "original"));
        for figure in ["mse", "l0", "explained_variance", "ce_loss_with_sae"] {
            let name = sae.display();
            let value = |variant: &serde_json::Value| {
                variant[figure].as_f64().unwrap_or_else(|| panic!("{name} {figure}: {variant}"))
            };
            let [expected, found] = [&expected, &found].map(value);
            assert!((expected - found).abs() <= 1e-5 * expected.abs(), "{name} {figure}: {found}, not {expected}");
        }
    }
}

#[test]
fn new_values_of_weights_of_16_bits_are_written_whole() {
    let place = Place::new();
    for (number, knob) in [(1, "bits:4"), (2, "rank:40")] {
        let out = place.path(knob.split_once(':').unwrap().0);
        place.run(["prune", "sae", "--layer", &number.to_string(), "--knob", knob, "--out", text(&out)]).done();
        let layers = vec![Layer { number, sae: Source::Demo, trained_sae: None }];
        let knob = knob.parse().unwrap();
        let own = SessionSpec { knob, layers, layer: Some(number), trained_sae: None, ..demo_spec() };
        let session = Session::load(&own, &mut quiet).unwrap();
        let expected = session.sae.pruned(Some(&session.pruning(session.setting, &mut || Ok(())).unwrap())).unwrap();
        let found = formats::load(&out).unwrap();
        assert_eq!(found.config.hook.layer, number);
        assert_eq!((values(&expected.w_enc), values(&expected.w_dec)), (values(&found.w_enc), values(&found.w_dec)));
        let config: serde_json::Value = serde_json::from_slice(&fs::read(out.join("cfg.json")).unwrap()).unwrap();
        assert_eq!(config["dtype"], "float32");
    }
}
