//! Model families beside the parity fixtures: those that differ in config only, GGUF files, other number types.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use prunelens_core::model::{HookPoint, Model, Tokenizer, config::Keys};

use crate::support::{fixtures, floats, furthest};

fn load(path: &Path, dtype: DType) -> Model {
    Model::load(path, &Device::Cpu, dtype, &mut |_| Ok(())).unwrap_or_else(|e| panic!("{e}"))
}

/// Activation at a hook, and logits.
fn outputs(model: &Model, tokens: &Tensor, hook: &str) -> (Vec<f32>, Vec<f32>) {
    let hook: HookPoint = hook.parse().unwrap();
    let captured = model.capture(tokens, hook, &mut || Ok(())).unwrap();
    let last = model.finish(&captured, &mut || Ok(())).unwrap();
    (floats(&captured.acts), floats(&model.logits(&last).unwrap()))
}

fn some_tokens(model: &Model) -> Tensor {
    let n = model.config.d_vocab as u32;
    let ids: Vec<u32> = (0..2 * 30).map(|i| i * 37 % n).collect();
    Tensor::from_vec(ids, (2, 30), &Device::Cpu).unwrap()
}

/// Expected values were computed with `transformers` 4.57 (eager attention, f32) on random weights.
#[test]
fn families_that_differ_in_config() {
    for name in ["mistral", "qwen2", "qwen3"] {
        let dir = fixtures().join("families").join(name);
        let expected = candle_core::safetensors::load(dir.join("expected.safetensors"), &Device::Cpu).unwrap();
        let tokens = expected["tokens"].to_dtype(DType::U32).unwrap();
        let (acts, logits) = outputs(&load(&dir, DType::F32), &tokens, "blocks.1.hook_resid_post");
        let far = furthest(&acts, &floats(&expected["resid_post.1"]));
        assert!(far < 1e-4, "{name}: activations differ by {far}");
        let far = furthest(&logits, &floats(&expected["logits"]));
        assert!(far < 1e-4, "{name}: logits differ by {far}");
    }
}

fn all_models() -> Vec<PathBuf> {
    let parity = ["gpt2", "neox", "llama", "gemma2", "gemma3"].map(|name| fixtures().join("parity/models").join(name));
    let more = ["mistral", "qwen2", "qwen3"].map(|name| fixtures().join("families").join(name));
    parity.into_iter().chain(more).collect()
}

/// In f64 nothing runs through the CPU's own kernels: this is the path of other devices.
#[test]
fn both_paths_agree() {
    for dir in all_models() {
        let (kernels, plain) = (load(&dir, DType::F32), load(&dir, DType::F64));
        let tokens = some_tokens(&kernels);
        let hook = "blocks.1.attn.hook_z";
        let ((z, logits), (other_z, other)) = (outputs(&kernels, &tokens, hook), outputs(&plain, &tokens, hook));
        let far = furthest(&z, &other_z).max(furthest(&logits, &other));
        assert!(far < 2e-4, "{}: {far}", dir.display());
    }
}

#[test]
fn sixteen_bits_stay_near() {
    for dir in all_models() {
        let full = load(&dir, DType::F32);
        let tokens = some_tokens(&full);
        let (_, want) = outputs(&full, &tokens, "blocks.0.hook_resid_post");
        for (dtype, least) in [(DType::BF16, 0.99), (DType::F16, 0.999)] {
            let (_, got) = outputs(&load(&dir, dtype), &tokens, "blocks.0.hook_resid_post");
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
            assert!(cosine > least, "{} {dtype:?}: {cosine}", dir.display());
        }
    }
}

/// transformers rounds a norm's weight to the model's type, and adds Gemma's 1 in f32.
#[test]
fn norms_keep_their_digits_in_16_bits() {
    for name in ["gemma2", "gemma3", "llama", "gpt2"] {
        let dir = fixtures().join("parity/models").join(name);
        let offset = if name.starts_with("gemma") { 1.0 } else { 0.0 };
        let weight = |dtype| load(&dir, dtype).blocks[0].ln2.weight.clone().unwrap();
        let stored = (weight(DType::F32) - offset).unwrap();
        for dtype in [DType::BF16, DType::F16] {
            let found = weight(dtype);
            assert_eq!(found.dtype(), DType::F32, "{name}");
            // Less than the 1 took of the stored number's digits, and far less than 1 + w loses in 16 bits.
            let rounded = stored.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
            let far = furthest(&floats(&found), &floats(&(rounded + offset).unwrap()));
            assert!(far < 1e-6, "{name} in {dtype:?}: {far}");
        }
    }
}

/// A fixture as llama.cpp's converter writes it: names, rows of rotary pairs side by side, Gemma's norms with their 1.
fn write_gguf(dir: &Path, arch: &str, path: &Path, dtype: GgmlDType) {
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    let keys = Keys { value: &json, path: dir };
    let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap();
    let gemma = arch.starts_with("gemma");
    let mut names = vec![
        ("model.embed_tokens.weight".to_owned(), "token_embd.weight".to_owned()),
        ("model.norm.weight".to_owned(), "output_norm.weight".to_owned()),
        ("lm_head.weight".to_owned(), "output.weight".to_owned()),
    ];
    for layer in 0..keys.size("num_hidden_layers").unwrap() {
        let mut parts = vec![
            ("input_layernorm", "attn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ];
        parts.extend(if gemma {
            vec![
                ("post_attention_layernorm", "post_attention_norm"),
                ("pre_feedforward_layernorm", "ffn_norm"),
                ("post_feedforward_layernorm", "post_ffw_norm"),
            ]
        } else {
            vec![("post_attention_layernorm", "ffn_norm")]
        });
        for kind in ["weight", "bias"] {
            names.extend(
                parts.iter().map(|(hf, gguf)| {
                    (format!("model.layers.{layer}.{hf}.{kind}"), format!("blk.{layer}.{gguf}.{kind}"))
                }),
            );
        }
    }
    let d_head = keys.size_or("head_dim", 0).unwrap();
    let mut out = Vec::new();
    for (hf, name) in &names {
        let Some(tensor) = tensors.get(hf) else { continue };
        let tensor = if gemma && name.ends_with("norm.weight") {
            (tensor + 1.0).unwrap()
        } else if arch == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
            let (rows, cols) = tensor.dims2().unwrap();
            let pairs = tensor.reshape((rows / d_head, 2, d_head / 2, cols)).unwrap().transpose(1, 2).unwrap();
            pairs.contiguous().unwrap().reshape((rows, cols)).unwrap()
        } else {
            tensor.clone()
        };
        let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
        out.push((name.as_str(), QTensor::quantize(&tensor, dtype).unwrap()));
    }
    use gguf_file::Value;
    let int = |key: &str| Value::U32(keys.size(key).unwrap() as u32);
    let mut values = vec![
        ("general.architecture".to_owned(), Value::String(arch.to_owned())),
        (format!("{arch}.block_count"), int("num_hidden_layers")),
        (format!("{arch}.embedding_length"), int("hidden_size")),
        (format!("{arch}.feed_forward_length"), int("intermediate_size")),
        (format!("{arch}.attention.head_count"), int("num_attention_heads")),
        (format!("{arch}.attention.head_count_kv"), int("num_key_value_heads")),
        (format!("{arch}.attention.key_length"), int("head_dim")),
        (format!("{arch}.context_length"), int("max_position_embeddings")),
        (format!("{arch}.vocab_size"), int("vocab_size")),
        (format!("{arch}.rope.freq_base"), Value::F32(keys.number("rope_theta").unwrap() as f32)),
        (format!("{arch}.attention.layer_norm_rms_epsilon"), Value::F32(keys.number("rms_norm_eps").unwrap() as f32)),
    ];
    if gemma {
        values.push((format!("{arch}.attention.sliding_window"), int("sliding_window")));
    }
    for (key, name) in [
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
        ("rope_local_base_freq", "rope.freq_base_swa"),
    ] {
        if let Ok(Some(value)) = keys.positive(key) {
            values.push((format!("{arch}.{name}"), Value::F32(value as f32)));
        }
    }
    if let Ok(pattern) = keys.size("sliding_window_pattern") {
        values.push((format!("{arch}.attention.sliding_window_pattern"), Value::U32(pattern as u32)));
    }
    let values: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let out: Vec<_> = out.iter().map(|(name, tensor)| (*name, tensor)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &values, &out).unwrap();
}

#[test]
fn gguf_files_are_the_same_models() {
    let folder = tempfile::tempdir().unwrap();
    for (dir, arch) in [
        ("parity/models/llama", "llama"),
        ("parity/models/gemma2", "gemma2"),
        ("parity/models/gemma3", "gemma3"),
        ("families/qwen3", "qwen3"),
    ] {
        let dir = fixtures().join(dir);
        let path = folder.path().join(format!("{arch}.gguf"));
        let mut hf = load(&dir, DType::F32);
        for (dtype, tolerance) in [(GgmlDType::F32, 1e-4), (GgmlDType::F16, 2e-2)] {
            write_gguf(&dir, arch, &path, dtype);
            let mut gguf = load(&path, DType::F32);
            // The fixtures scale attention by a number of their own, and Llama's frequencies are in a tensor of other files:
            // neither is in these.
            gguf.config.attn_scale = hf.config.attn_scale.clone();
            let plain = prunelens_core::model::config::RopeScaling::None;
            for model in [&mut hf, &mut gguf] {
                if let Some(rope) = &mut model.config.rope {
                    rope.scaling = plain.clone();
                }
                let rotary = model.config.rope.as_ref().map(|r| prunelens_core::model::Rotary::new(r, &Device::Cpu));
                model.rotary = rotary;
            }
            let tokens = some_tokens(&hf);
            let hook = "blocks.1.hook_resid_post";
            let ((acts, logits), (other_acts, other)) = (outputs(&hf, &tokens, hook), outputs(&gguf, &tokens, hook));
            let far = furthest(&acts, &other_acts).max(furthest(&logits, &other));
            assert!(far < tolerance, "{arch} {dtype:?}: {far}");
        }
    }
    // A folder with one such file is that file; with two, which one is not clear.
    let alone = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("llama.gguf"), alone.path().join("model.gguf")).unwrap();
    assert_eq!(load(alone.path(), DType::F32).config.family, "llama");
    let message = Model::load(folder.path(), &Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(message.contains("name the one"), "{message}");
}

#[test]
fn a_tokenizer_beside_a_gguf_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let dir = fixtures().join("parity/models/llama");
    let path = folder.path().join("model.gguf");
    write_gguf(&dir, "llama", &path, GgmlDType::F32);
    let model = load(&path, DType::F32);
    let message = Tokenizer::load(&path, &model.config).unwrap_err().to_string();
    assert!(message.contains("no vocabulary") && message.contains("tokenizer.json"), "{message}");
    std::fs::copy(dir.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let ids = Tokenizer::load(&path, &model.config).unwrap().encode("The river", false).unwrap();
    assert_eq!(ids, Tokenizer::load(&dir, &model.config).unwrap().encode("The river", false).unwrap());
}
