//! Models of GGUF files: their metadata as a `config.json`, their tensors under the names that llama.cpp gives them.

use serde_json::{Map, Value, json};

use super::families::{Names, PLAIN};
use crate::model::weights::gguf::Metadata;

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
pub fn describe(metadata: &Metadata, tied: bool) -> Result<(Value, &'static Names), String> {
    let arch = metadata.text("general.architecture").unwrap_or_default();
    let Some((_, family, names)) = ARCHITECTURES.iter().find(|(name, ..)| *name == arch) else {
        let known: Vec<_> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        let arch = crate::text::shorten(arch, 40);
        return Err(format!("architecture {arch:?} is not supported; supported are {}", known.join(", ")));
    };
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
    if let Some(factor) = float("rope.scaling.factor")
        && metadata.text(&format!("{arch}.rope.scaling.type")) == Some("linear")
    {
        set("rope_scaling", json!({ "rope_type": "linear", "factor": factor }));
    }
    if arch.starts_with("gemma") {
        // The largest of each family scales by the width of the model, not of the head.
        let largest = (arch == "gemma2" && layers == 46) || (arch == "gemma3" && layers == 62);
        set("query_pre_attn_scalar", if largest { width / heads.max(1) } else { d_head }.into());
        let cap = |key: &str| float(key).map_or(Value::Null, Value::from);
        if arch == "gemma2" {
            set("attn_logit_softcapping", cap("attn_logit_softcapping"));
            set("final_logit_softcapping", cap("final_logit_softcapping"));
        }
        set("sliding_window", int("attention.sliding_window").map_or(Value::Null, Value::from));
        if let Some(pattern) = int("attention.sliding_window_pattern") {
            set("sliding_window_pattern", pattern.into());
        }
        if let Some(theta) = float("rope.freq_base_swa") {
            set("rope_local_base_freq", theta.into());
        }
    }
    Ok((Value::Object(out), names))
}
