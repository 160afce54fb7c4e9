//! Models of GGUF files: their metadata as a `config.json`, their tensors under the names that llama.cpp gives them.

use serde_json::{Map, Value, json};

use super::{
    families::{Names, PLAIN},
    known,
    weights::gguf::{self, Metadata},
};

/// Names of the tensors that all architectures share.
const NAMES: Names = Names {
    prefixes: &[""],
    embed: "token_embd.weight",
    ln_final: "output_norm",
    unembed: "output.weight",
    block: "blk.{}.",
    ln1: "attn_norm",
    ln2: "ffn_norm",
    qkv: &["attn_q", "attn_k", "attn_v"],
    o: "attn_output",
    mlp_in: &["ffn_gate", "ffn_up"],
    mlp_out: "ffn_down",
    ..PLAIN
};

/// Norm weights of Gemma have their 1 added already.
const GEMMA: Names = Names { ln1_post: Some("post_attention_norm"), ln2_post: Some("post_ffw_norm"), ..NAMES };

/// Architectures of GGUF that can be read: name, family, names of tensors.
static ARCHITECTURES: [(&str, &str, Names); 5] = [
    // Rows of queries and keys are stored in pairs, as llama.cpp rotates them.
    ("llama", "llama", Names { rotary_pairs: true, ..NAMES }),
    ("qwen2", "qwen2", NAMES),
    ("qwen3", "qwen3", Names { qk_norms: Some(["attn_q_norm", "attn_k_norm"]), ..NAMES }),
    ("gemma2", "gemma2", GEMMA),
    ("gemma3", "gemma3_text", Names { qk_norms: Some(["attn_q_norm", "attn_k_norm"]), ..GEMMA }),
];

/// The metadata as a Hugging Face config, and the names of the tensors; or why not.
pub fn describe(metadata: &Metadata, tied: bool) -> Result<(Value, &'static Names, Vec<String>), String> {
    let arch = metadata.text("general.architecture").unwrap_or_default();
    let Some((_, family, names)) = ARCHITECTURES.iter().find(|(name, ..)| *name == arch) else {
        let known: Vec<_> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        let arch = crate::text::shorten(arch, 40);
        return Err(format!("architecture {arch:?} is not supported; supported are {}", known.join(", ")));
    };
    let warnings = look(metadata, arch)?;
    let int = |key: &str| metadata.int(&format!("{arch}.{key}"));
    let float = |key: &str| metadata.float(&format!("{arch}.{key}"));
    let need = |key: &str| int(key).ok_or_else(|| format!("metadata key \"{arch}.{key}\" is missing"));
    let (layers, width, heads) = (need("block_count")?, need("embedding_length")?, need("attention.head_count")?);
    let d_head = int("attention.key_length").unwrap_or_else(|| width / heads.max(1));
    let vocabulary = metadata.texts("tokenizer.ggml.tokens").map(<[String]>::len);
    let token = |key: &str| metadata.int(&format!("tokenizer.ggml.{key}_token_id"));
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    set("model_type", (*family).into());
    set("num_hidden_layers", layers.into());
    set("hidden_size", width.into());
    set("intermediate_size", need("feed_forward_length")?.into());
    set("num_attention_heads", heads.into());
    set("num_key_value_heads", int("attention.head_count_kv").unwrap_or(heads).into());
    set("head_dim", d_head.into());
    set("rms_norm_eps", float("attention.layer_norm_rms_epsilon").unwrap_or(1e-6).into());
    set("max_position_embeddings", need("context_length")?.into());
    set("rope_theta", float("rope.freq_base").unwrap_or(10_000.0).into());
    set("tie_word_embeddings", tied.into());
    set("bos_token_id", token("bos").map_or(Value::Null, Value::from));
    set("eos_token_id", token("eos").map_or(Value::Null, Value::from));
    set("pad_token_id", token("padding").map_or(Value::Null, Value::from));
    if let Some(n) = int("vocab_size").map(Value::from).or(vocabulary.map(Value::from)) {
        set("vocab_size", n);
    }
    // As llama.cpp: linear unless said otherwise, by the older key where there is no newer one.
    let factor =
        float("rope.scaling.factor").or(float("rope.scale_linear")).filter(|factor| !matches!(factor, 0.0 | 1.0));
    match (metadata.text(&format!("{arch}.rope.scaling.type")).unwrap_or("linear"), factor) {
        ("none", _) | ("linear", None) => {}
        ("linear", Some(factor)) => set("rope_scaling", json!({ "rope_type": "linear", "factor": factor })),
        (kind, _) => {
            let kind = crate::text::shorten(kind, 40);
            return Err(format!("metadata key \"{arch}.rope.scaling.type\": {kind:?} is not supported, only linear"));
        }
    }
    for key in ["attention.value_length", "rope.dimension_count"] {
        if int(key).is_some_and(|found| found != d_head) {
            return Err(format!("metadata key \"{arch}.{key}\": expected {d_head}, the width of a head"));
        }
    }
    if arch.starts_with("gemma") {
        // The largest of each family scales by the width of the model, not of the head.
        let largest = (arch == "gemma2" && layers == 46) || (arch == "gemma3" && layers == 62);
        set("query_pre_attn_scalar", if largest { width / heads.max(1) } else { d_head }.into());
        let cap = |key: &str| float(key).map_or(Value::Null, Value::from);
        if arch == "gemma3" {
            set("final_logit_softcapping", cap("final_logit_softcapping"));
        }
        if arch == "gemma2" {
            set("attn_logit_softcapping", cap("attn_logit_softcapping"));
            set("final_logit_softcapping", cap("final_logit_softcapping"));
        }
        if let Some(window) = int("attention.sliding_window") {
            set("sliding_window", window.into());
        }
        if let Some(pattern) = int("attention.sliding_window_pattern") {
            if arch == "gemma3" {
                set("sliding_window_pattern", pattern.into());
            } else if pattern != 2 {
                return Err(format!("metadata key \"{arch}.attention.sliding_window_pattern\": expected 2"));
            }
        }
        if let Some(theta) = float("rope.freq_base_swa") {
            set("rope_local_base_freq", theta.into());
        }
    }
    Ok((Value::Object(out), names, warnings))
}

/// Keys of an architecture that are read, or change nothing.
const KNOWN: [&str; 24] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    // Of yarn, which is refused; and a note.
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "tensor_data_layout",
    // Of Gemma.
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base_swa",
    "attention.causal",
];

/// Keys of an architecture that would change what is computed: an error for those that are not read, a warning for what is
/// not known.
fn look(metadata: &Metadata, arch: &str) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    let gemma = arch.starts_with("gemma");
    for (key, value) in metadata.iter() {
        let Some(name) = key.strip_prefix(arch).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let refused = || {
            Err(format!(
                "metadata key {:?} is not read, and it changes what is computed",
                crate::text::shorten(key, 80)
            ))
        };
        let is_off = matches!(value, gguf::Value::Int(0) | gguf::Value::Bool(false));
        let of_gemma = name.contains("sliding") || name.contains("softcapping") || name.ends_with("_swa");
        match KNOWN.contains(&name) {
            true if name == "attention.causal" && is_off => return refused(),
            true if gemma || !of_gemma || is_off => {}
            true => return refused(),
            false if is_off => {}
            false if known::matters(name) => return refused(),
            false => {
                warnings.push(format!("metadata key {} is not known and was not read", crate::text::shorten(key, 80)))
            }
        }
    }
    Ok(warnings)
}
