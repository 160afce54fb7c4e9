//! Models, SAEs and texts that are not what they should be.

use std::fs;

use super::load;
use crate::support::{GPT2, LLAMA, Place, SAE, Tensors, edit_json, fixture};

#[test]
fn missing_files() {
    let (place, sae) = (Place::new(), fixture(SAE));
    load(&place, &place.path("nowhere"), &sae, &[]).refused(1, &["--model", "nowhere: no such file or folder"]);
    load(&place, "openai-community/gpt2".as_ref(), &sae, &[])
        .refused(1, &["openai-community/gpt2", "cannot be reached", "local folder"]);
    load(&place, &fixture(GPT2), &place.path("nowhere"), &[]).refused(1, &["--sae", "nowhere: no such file or folder"]);
    load(&place, &fixture(GPT2), &sae, &["--pruned-model", "nowhere"]).refused(1, &["--compressed-model nowhere"]);
    for (name, what) in [
        ("config.json", "No such file"),
        ("model.safetensors", "No such file"),
        ("tokenizer.json", "it is in the model's repository"),
    ] {
        let place = Place::new();
        let model = place.copy(GPT2, "model");
        fs::remove_file(model.join(name)).unwrap();
        load(&place, &model, &sae, &[]).refused(1, &[name, what]);
    }
    for name in ["cfg.json", "sae_weights.safetensors"] {
        let place = Place::new();
        let sae = place.copy(SAE, "sae");
        fs::remove_file(sae.join(name)).unwrap();
        load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae: ", name]);
    }
}

#[test]
fn files_of_another_kind() {
    let (place, sae) = (Place::new(), fixture(SAE));
    let file = place.write("file", "text");
    load(&place, &file, &sae, &[]).refused(1, &["file"]);
    load(&place, &fixture(GPT2), &file, &[]).refused(1, &["file"]);
    load(&place, &fixture(GPT2), &fixture(LLAMA), &[]).refused(1, &["not the folder of an SAE", "config.json"]);
    load(&place, &sae, &sae, &[]).refused(1, &["config.json"]);
    // A folder where a file should be.
    let model = place.copy(GPT2, "model");
    fs::remove_file(model.join("model.safetensors")).unwrap();
    fs::create_dir(model.join("model.safetensors")).unwrap();
    load(&place, &model, &sae, &[]).refused(1, &["model.safetensors"]);
}

#[test]
fn truncated_weights() {
    for keep in [0, 7, 8, 100, 5000] {
        let place = Place::new();
        let (model, sae) = (place.copy(GPT2, "model"), place.copy(SAE, "sae"));
        let cut = |path: &std::path::Path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..keep.min(bytes.len() - 1)]).unwrap();
        };
        cut(&model.join("model.safetensors"));
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model.safetensors", "not a whole safetensors file"]);
        cut(&sae.join("sae_weights.safetensors"));
        load(&place, &fixture(GPT2), &sae, &[])
            .refused(1, &["sae_weights.safetensors", "not a whole safetensors file"]);
    }
}

#[test]
fn a_header_that_promises_too_much() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    for header in [u64::MAX, 1 << 40, 100_000_001] {
        let mut bytes = header.to_le_bytes().to_vec();
        bytes.extend(b"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
        fs::write(model.join("model.safetensors"), bytes).unwrap();
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model.safetensors", "not a whole safetensors file"]);
    }
    for tensors in [
        r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
        r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#,
        r#"[1, 2]"#,
    ] {
        let mut bytes = (tensors.len() as u64).to_le_bytes().to_vec();
        bytes.extend(tensors.as_bytes());
        bytes.extend([0; 16]);
        fs::write(model.join("model.safetensors"), bytes).unwrap();
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model.safetensors"]);
    }
}

#[test]
fn tensors_of_the_wrong_shape() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    Tensors::edit(&model.join("model.safetensors"), |t| t.get("h.1.mlp.c_fc.weight").0.reverse());
    load(&place, &model, &fixture(SAE), &[])
        .refused(1, &["model.safetensors", "h.1.mlp.c_fc.weight", "expected shape [36, 144]", "found [144, 36]"]);
    let sae = place.copy(SAE, "sae");
    Tensors::edit(&sae.join("sae_weights.safetensors"), |t| t.get("b_enc").0 = vec![128, 1]);
    load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae_weights.safetensors", "b_enc", "[128]", "[128, 1]"]);
}

#[test]
fn tensors_that_are_missing() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    Tensors::edit(&model.join("model.safetensors"), |t| {
        t.0.remove("h.2.attn.c_attn.weight");
    });
    load(&place, &model, &fixture(SAE), &[]).refused(1, &["model.safetensors", "h.2.attn.c_attn.weight", "missing"]);
    let sae = place.copy(SAE, "sae");
    Tensors::edit(&sae.join("sae_weights.safetensors"), |t| {
        t.0.remove("W_dec");
    });
    load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae_weights.safetensors", "W_dec"]);
}

#[test]
fn configs_that_disagree_with_the_tensors() {
    for (key, value, word) in
        [("n_embd", 48, "36"), ("n_layer", 4, "h.3"), ("vocab_size", 600, "[512, 36]"), ("n_positions", 64, "[40, 36]")]
    {
        let place = Place::new();
        let model = place.copy(GPT2, "model");
        edit_json(&model.join("config.json"), |c| c[key] = value.into());
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model.safetensors", word]);
    }
    for (key, value, found) in [("d_in", 48, "say 36"), ("d_sae", 64, "say 128")] {
        let place = Place::new();
        let sae = place.copy(SAE, "sae");
        edit_json(&sae.join("cfg.json"), |c| c[key] = value.into());
        load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["cfg.json", key, found]);
    }
}

#[test]
fn configs_that_make_no_sense() {
    for (key, value) in [
        ("n_head", serde_json::json!(0)),
        ("n_head", 5.into()),
        ("n_layer", 0.into()),
        ("n_layer", (-1).into()),
        ("n_layer", 1_000_000_000_000_u64.into()),
        ("n_embd", "wide".into()),
        ("n_positions", 0.into()),
        ("model_type", "bert".into()),
        ("model_type", serde_json::Value::Null),
        ("activation_function", "spiral".into()),
        ("layer_norm_epsilon", "small".into()),
    ] {
        let place = Place::new();
        let model = place.copy(GPT2, "model");
        edit_json(&model.join("config.json"), |c| c[key] = value.clone());
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model"]);
    }
    for (key, value) in [
        ("hook_name", serde_json::json!("blocks.one.hook_resid_post")),
        ("hook_name", 3.into()),
        ("architecture", "transcoder".into()),
        ("activation_fn_kwargs", serde_json::json!({ "k": 0 })),
        ("activation_fn_kwargs", serde_json::json!({ "k": 4000 })),
        ("activation_fn_kwargs", serde_json::json!({ "k": "many" })),
        ("normalize_activations", "sideways".into()),
        ("d_in", (-36).into()),
    ] {
        let place = Place::new();
        let sae = place.copy(SAE, "sae");
        edit_json(&sae.join("cfg.json"), |c| c[key] = value.clone());
        load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["cfg.json"]);
    }
}

#[test]
fn json_that_is_none() {
    let deep = "[".repeat(100_000);
    for text in ["", "{", "null", "[]", "{\"model_type\": \"gpt2\"", "\u{feff}{}", &deep] {
        let place = Place::new();
        let (model, sae) = (place.copy(GPT2, "model"), place.copy(SAE, "sae"));
        for (folder, name) in [(&model, "config.json"), (&sae, "cfg.json")] {
            let whole = fs::read(folder.join(name)).unwrap();
            fs::write(folder.join(name), text).unwrap();
            load(&place, &model, &sae, &[]).refused(1, &[name]);
            fs::write(folder.join(name), whole).unwrap();
        }
        fs::write(model.join("tokenizer.json"), text).unwrap();
        load(&place, &model, &sae, &[]).refused(1, &["tokenizer.json"]);
    }
}

#[test]
fn weights_that_are_not_numbers() {
    for value in [f32::NAN, f32::INFINITY] {
        let place = Place::new();
        let model = place.copy(GPT2, "model");
        Tensors::edit(&model.join("model.safetensors"), |t| t.get("h.0.mlp.c_fc.bias").1[3] = value);
        load(&place, &model, &fixture(SAE), &[])
            .refused(1, &["model.safetensors", "h.0.mlp.c_fc.bias", "NaN or infinite"]);
        let sae = place.copy(SAE, "sae");
        Tensors::edit(&sae.join("sae_weights.safetensors"), |t| t.get("W_enc").1[100] = value);
        load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["sae_weights.safetensors", "W_enc", "NaN or infinite"]);
    }
}

#[test]
fn hooks_that_do_not_exist() {
    let (place, model, sae) = (Place::new(), fixture(GPT2), fixture(SAE));
    load(&place, &model, &sae, &["--hook", "blocks.9.hook_resid_post"])
        .refused(1, &["blocks.9.hook_resid_post", "0 to 2"]);
    load(&place, &model, &sae, &["--hook", "blocks.1.hook_nowhere"]).refused(2, &["hook_nowhere", "hook_resid_post"]);
    load(&place, &model, &sae, &["--hook", "blocks.99999999999999999999.hook_resid_post"]).refused(2, &["blocks.999"]);
    let sae = place.copy(SAE, "sae");
    edit_json(&sae.join("cfg.json"), |c| c["hook_name"] = "blocks.7.hook_resid_post".into());
    load(&place, &model, &sae, &[]).refused(1, &["blocks.7.hook_resid_post", "0 to 2"]);
}

#[test]
fn an_sae_of_another_width() {
    let place = Place::new();
    let sae = place.copy(SAE, "sae");
    edit_json(&sae.join("cfg.json"), |c| c["d_in"] = 20.into());
    Tensors::edit(&sae.join("sae_weights.safetensors"), |t| {
        *t.get("W_enc") = (vec![20, 128], vec![0.1; 20 * 128]);
        *t.get("W_dec") = (vec![128, 20], vec![0.1; 20 * 128]);
        *t.get("b_dec") = (vec![20], vec![0.0; 20]);
    });
    load(&place, &fixture(GPT2), &sae, &[]).refused(1, &["width 20", "width 36", "--hook"]);
}

#[test]
fn a_pruned_model_that_is_another_model() {
    let place = Place::new();
    let other = fixture(LLAMA).to_str().unwrap().to_owned();
    load(&place, &fixture(GPT2), &fixture(SAE), &["--pruned-model", &other]).refused(1, &["llama", "not a copy of"]);
}

#[test]
fn a_model_that_overflows_in_16_bits() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    Tensors::edit(&model.join("model.safetensors"), |t| {
        t.get("h.0.mlp.c_proj.weight").1.iter_mut().for_each(|w| *w *= 1e6);
    });
    let (model, sae) = (model.to_str().unwrap(), fixture(SAE));
    let inspect = |more: &[&str]| {
        place.run(["inspect", "a river", "--model", model, "--sae", sae.to_str().unwrap()].iter().chain(more))
    };
    let warned = |dtype| {
        let ran = inspect(&["--dtype", dtype]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.err.contains("overflows in f16")
    };
    assert!(warned("f16") && !warned("bf16"));
    inspect(&["--dtype", "f16", "--compress", "svd-llm:0.5"]).refused(1, &["f32 or bf16"]);
}

#[test]
fn shards_that_lead_elsewhere() {
    for shard in ["../model/model.safetensors", "/etc/passwd", ".hidden", "", "absent.safetensors"] {
        let place = Place::new();
        let model = place.copy(GPT2, "model");
        fs::remove_file(model.join("model.safetensors")).unwrap();
        let index = serde_json::json!({ "weight_map": { "wte.weight": shard } });
        fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
        load(&place, &model, &fixture(SAE), &[]).refused(1, &["model"]);
    }
}

#[test]
fn calibration_that_cannot_be_used() {
    let place = Place::new();
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    for (name, bytes, words) in [
        ("empty.txt", &b""[..], &["empty.txt"][..]),
        ("short.txt", b"Too short.", &["short.txt"]),
        ("latin.txt", b"caf\xe9 ".repeat(200).leak(), &["latin.txt", "UTF-8"]),
        ("bad.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n", &["bad.jsonl", "line 2"]),
        ("other.jsonl", b"{\"body\": \"a\"}\n", &["other.jsonl", "text"]),
        ("text.pdf", b"%PDF", &["text.pdf", ".txt"]),
        ("cut.safetensors", b"\x10\0\0\0\0\0\0\0{", &["cut.safetensors"]),
    ] {
        let path = place.write(name, bytes);
        load(&place, &model, &sae, &["--calibration", path.to_str().unwrap()]).refused(1, words);
    }
    load(&place, &model, &sae, &["--calibration", "absent.txt"]).refused(1, &["absent.txt"]);
    load(&place, &model, &sae, &["--calibration", "."]).refused(1, &["."]);
}

#[test]
fn ratios_of_n_to_m_that_do_not_divide() {
    load(&Place::new(), &fixture(GPT2), &fixture(SAE), &["--compress", "wanda:3:7"])
        .refused(1, &["7 does not divide 36"]);
}

#[test]
fn devices_that_are_not_there() {
    if cfg!(feature = "cuda") {
        return;
    }
    let ran = load(&Place::new(), &fixture(GPT2), &fixture(SAE), &["--device", "cuda:3"]);
    ran.refused(1, &["built without CUDA", "--device cpu"]);
}
