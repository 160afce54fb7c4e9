//! Gemma 2 and the text part of Gemma 3.

use super::{Family, Names, Table, Use, llama};
use crate::{
    error::Result,
    model::config::{Biases, Config, Keys, Rope, RopeScaling},
};

pub static GEMMA2: Family = Family {
    names: NAMES,
    config: gemma2,
    defaults: r#"{"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0, "tie_word_embeddings": true}"#,
    keys: &[llama::DECODER, GEMMA2_KEYS],
};
pub static GEMMA3: Family = Family {
    names: Names {
        // The files of models that see images, too, keep the text part under names of its own.
        prefixes: &["model.", "", "language_model.model.", "model.language_model."],
        qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        ..NAMES
    },
    config: gemma3,
    defaults: r#"{"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "attention_bias": false,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "rope_local_base_freq": 10000.0,
        "tie_word_embeddings": true}"#,
    keys: &[llama::DECODER, GEMMA3_KEYS],
};

const GEMMA2_KEYS: Table<'static> = &[
    // Instead of hidden_act, which gets a warning where it says something else; see `build`.
    ("hidden_activation", Use::Read),
    ("attention_bias", Use::Read),
    ("query_pre_attn_scalar", Use::Read),
    ("sliding_window", Use::Read),
    ("layer_types", Use::Read),
    ("attn_logit_softcapping", Use::Read),
    ("final_logit_softcapping", Use::Read),
    ("use_bidirectional_attention", Use::Only(&["false"])),
    ("sliding_window_size", Use::Unread),
];

const GEMMA3_KEYS: Table<'static> = &[
    ("hidden_activation", Use::Read),
    ("rope_local_base_freq", Use::Read),
    ("attention_bias", Use::Read),
    ("query_pre_attn_scalar", Use::Read),
    ("sliding_window", Use::Read),
    ("sliding_window_pattern", Use::Read),
    // Written beside `layer_types`, and not read again.
    ("_sliding_window_pattern", Use::Harmless),
    ("layer_types", Use::Read),
    // Attention of Gemma 3 has no cap in transformers, whatever the config says.
    ("attn_logit_softcapping", Use::Unread),
    ("final_logit_softcapping", Use::Read),
    ("use_bidirectional_attention", Use::Only(&["false"])),
];

/// Keys of a model that sees images, beside those of its text part.
pub const MULTIMODAL: Table<'static> = &[
    ("text_config", Use::Read),
    ("vision_config", Use::Harmless),
    ("mm_tokens_per_image", Use::Harmless),
    ("boi_token_index", Use::Harmless),
    ("eoi_token_index", Use::Harmless),
    ("image_token_index", Use::Harmless),
    ("image_token_id", Use::Harmless),
];

const NAMES: Names = Names {
    ln1_post: Some("post_attention_layernorm"),
    ln2: "pre_feedforward_layernorm",
    ln2_post: Some("post_feedforward_layernorm"),
    norm_offset: 1.0,
    ..llama::NAMES
};

fn build(family: &str, keys: Keys) -> Result<Config> {
    let mut config = llama::build(family, keys)?;
    let d_head = keys.size_or("head_dim", 256)?;
    config.act = keys.act("hidden_activation", "gelu_pytorch_tanh")?;
    let other = keys.str_or("hidden_act", "")?;
    if !other.is_empty() && other != keys.str_or("hidden_activation", "gelu_pytorch_tanh")? {
        config.warnings.push(format!(
            "config key hidden_act = {} is not read: Gemma's activation is hidden_activation",
            crate::text::shorten(other, 40)
        ));
    }
    let attention = keys.bool_or("attention_bias", false)?;
    config.biases = Biases { qkv: attention, o: attention, mlp: false };
    config.d_head = d_head;
    config.embed_scale = (config.d_model as f64).sqrt();
    config.attn_scale = vec![keys.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5); config.n_layers];
    config.logit_softcap = keys.positive("final_logit_softcapping")?;
    Ok(config)
}

fn gemma2(keys: Keys) -> Result<Config> {
    let mut config = build("gemma2", keys)?;
    config.attn_softcap = keys.positive("attn_logit_softcapping")?;
    config.rope = Some(keys.rope(config.d_head, 1.0)?);
    // As the Hugging Face model: the first layer has a window, the second has none, and so on.
    let window = Some(keys.size("sliding_window")?);
    config.windows = keys.windows(config.n_layers, window, |layer| layer % 2 == 0)?;
    config.check(keys.path)
}

fn gemma3(keys: Keys) -> Result<Config> {
    let mut config = build("gemma3_text", keys)?;
    let dim = config.d_head;
    let pattern = keys.size_or("sliding_window_pattern", 6)?;
    let window = Some(keys.size("sliding_window")?);
    config.windows = keys.windows(config.n_layers, window, |layer| !(layer + 1).is_multiple_of(pattern))?;
    // Newer configs keep one set of rotary settings for each kind of layer.
    let kinds = keys.get("rope_parameters").filter(|p| p.get("full_attention").is_some());
    let (global, local) = match kinds {
        Some(kinds) => {
            let of = |kind: &str, theta: f64| -> Result<Rope> {
                let value = serde_json::json!({ "rope_theta": theta, "rope_parameters": kinds.get(kind) });
                Keys { value: &value, path: keys.path }.rope(dim, 1.0)
            };
            (of("full_attention", 1_000_000.0)?, of("sliding_attention", 10_000.0)?)
        }
        None => {
            let global = keys.rope(dim, 1.0)?;
            let theta = keys.number_or("rope_local_base_freq", 10_000.0)?;
            (global, Rope { theta, dim, scaling: RopeScaling::None })
        }
    };
    (config.rope, config.rope_local) = (Some(global), Some(local));
    config.check(keys.path)
}
