//! Every key of transformers' configuration classes is known to the readers, and a changed one is never passed over.

use std::path::Path;

use prunelens_core::model::{
    config::Keys,
    families,
    known::{self, Use},
};
use serde_json::{Map, Value, json};

/// Of each version and family: its `model_type`, and all keys with their defaults.
fn classes() -> Vec<(String, String, Map<String, Value>)> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/config_keys.json"))
            .unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let versions = json["versions"].as_object().unwrap().iter();
    versions
        .flat_map(|(version, families)| {
            let family =
                |(name, keys): (&String, &Value)| (version.clone(), name.clone(), keys.as_object().unwrap().clone());
            families.as_object().unwrap().iter().map(family).collect::<Vec<_>>()
        })
        .collect()
}

fn read(config: &Map<String, Value>) -> Result<Vec<String>, String> {
    let (value, path) = (Value::Object(config.clone()), Path::new("config.json"));
    families::config(Keys { value: &value, path }).map(|config| config.warnings).map_err(|e| e.to_string())
}

#[test]
fn every_key_of_the_library_is_classified() {
    let classes = classes();
    assert_eq!(classes.len(), 16);
    for (version, family, keys) in classes {
        let json = json!({ "model_type": family });
        let table = families::family(Keys { value: &json, path: Path::new("config.json") }).unwrap().keys;
        for key in keys.keys() {
            assert!(known::of(key, table).is_some(), "{family} of transformers {version}: key {key} is not classified");
        }
        assert_eq!(read(&keys), Ok(Vec::new()), "{family} of transformers {version} with its defaults");
    }
}

#[test]
fn a_key_that_is_left_out_is_the_librarys_default() {
    for (version, family, keys) in classes() {
        let json = json!({ "model_type": family });
        let bare = Keys { value: &json, path: Path::new("config.json") };
        let (value, path) = (Value::Object(keys), Path::new("config.json"));
        let mut whole = families::config(Keys { value: &value, path }).unwrap();
        // Token ids are the tokenizer's.
        (whole.bos_token_id, whole.eos_token_id, whole.pad_token_id) = (None, None, None);
        assert_eq!(families::config(bare).unwrap(), whole, "{family} of transformers {version}");
    }
}

#[test]
fn what_would_change_the_numbers_is_refused_by_name() {
    for (_, family, keys) in classes() {
        let json = json!({ "model_type": family });
        let table = families::family(Keys { value: &json, path: Path::new("config.json") }).unwrap().keys;
        let with = |key: &str, value: Value| {
            let mut keys = keys.clone();
            keys.insert(key.into(), value);
            read(&keys)
        };
        for key in keys.keys().filter(|key| matches!(known::of(key, table), Some(Use::Only(_)))) {
            let refusal = with(key, json!({ "odd": 7 })).unwrap_err();
            assert!(refusal.contains(key.as_str()), "{family} {key}: {refusal}");
        }
        for key in ["attention_sink_window", "logit_scale", "embedding_multiplier", "qk_layernorm", "num_local_experts"]
        {
            let refusal = with(key, json!(3)).unwrap_err();
            assert!(refusal.contains(key), "{family} {key}: {refusal}");
            assert_eq!(with(key, Value::Null), Ok(Vec::new()), "{family} {key} null");
        }
        for key in ["layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps", "rope_theta"] {
            if keys.contains_key(key) {
                let refusal = with(key, json!(-1.0)).unwrap_err();
                assert!(refusal.contains("found -1") || refusal.contains(key), "{family} {key}: {refusal}");
            }
        }
        let warnings = with("favourite_colour", json!("blue")).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("favourite_colour"), "{family}: {warnings:?}");
        let method = with("quantization_config", json!({ "quant_method": "aqlm" })).unwrap_err();
        assert!(method.contains("aqlm") && method.contains("quant_method"), "{family}: {method}");
    }
}

/// transformers' quantisation configs as it saves them with their defaults; each is read without a word.
fn quantisations() -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/quantisation_keys.json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json["configs"].as_object().unwrap().clone()
}

fn with_quantisation(quantisation: &Value) -> Result<Vec<String>, String> {
    let Value::Object(config) = json!({ "model_type": "llama", "quantization_config": quantisation }) else { panic!() };
    read(&config)
}

#[test]
fn every_key_of_the_librarys_quantisation_configs_is_classified() {
    let configs = quantisations();
    assert_eq!(configs.len(), 7);
    for (name, config) in &configs {
        let answer = with_quantisation(config);
        if name == "auto-round" {
            // Its own layout, which the default names, is none of those that are read.
            assert!(answer.unwrap_err().contains("auto-round"));
        } else {
            assert_eq!(answer, Ok(Vec::new()), "{name}");
        }
    }
}

#[test]
fn a_key_that_a_scheme_does_not_read_is_never_passed_over() {
    let base = |method: &str| match method {
        "mlx" => json!({ "bits": 4, "group_size": 64 }),
        method => json!({ "quant_method": method }),
    };
    let with = |method: &str, at: &[&str], key: &str, value: Value| {
        let mut config = base(method);
        let inside = at.iter().fold(&mut config, |object, key| &mut object[*key]);
        inside[key] = value;
        with_quantisation(&config)
    };
    for method in ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "mlx"] {
        for key in ["packing_order", "zero_shift", "weight_bias", "rotation_group"] {
            let refusal = with(method, &[], key, json!(3)).unwrap_err();
            assert!(refusal.contains(&format!(".{key}")), "{method}: {refusal}");
            assert_eq!(with(method, &[], key, Value::Null), Ok(Vec::new()), "{method}: {key} null");
        }
        let warnings = with(method, &[], "favourite_colour", json!("blue")).unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].contains("quantization_config.favourite_colour")
                || method == "mlx" && warnings[0].contains("favourite_colour"),
            "{method}: {warnings:?}"
        );
    }
    // Bits are of no meaning where a byte is a number.
    for method in ["fp8", "bitsandbytes"] {
        assert!(with(method, &[], "bits", json!(4)).unwrap_err().contains("quantization_config.bits = 4"));
    }
    assert!(with("gptq", &[], "adapter", json!({ "rank": 8 })).unwrap_err().contains("adapter"));
    assert!(with("awq", &[], "zero_point", json!(false)).unwrap_err().contains("zero_point"));
    assert!(with("bitsandbytes", &[], "llm_int8_has_fp16_weight", json!(true)).is_err());
    let nested = [("config_groups", "group_0"), ("config_groups", "group_1")];
    for (groups, group) in nested {
        let refusal = with("compressed-tensors", &[groups, group, "weights"], "zero_shift", json!(1)).unwrap_err();
        assert!(refusal.contains(&format!("{groups}.{group}.weights.zero_shift")), "{refusal}");
    }
    let refusal = with("mlx", &["model.layers.0.mlp.down_proj"], "zero_shift", json!(1)).unwrap_err();
    assert!(refusal.contains("down_proj.zero_shift"), "{refusal}");
}
