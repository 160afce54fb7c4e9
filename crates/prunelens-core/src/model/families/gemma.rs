//! Gemma 2 and the text part of Gemma 3.

use super::{Family, Names, llama};
use crate::{
    error::Result,
    model::config::{Config, Keys, Rope, RopeScaling},
};

pub static GEMMA2: Family = Family { names: NAMES, config: gemma2 };
pub static GEMMA3: Family = Family {
    names: Names {
        // The files of models that see images, too, keep the text part under names of its own.
        prefixes: &["model.", "", "language_model.model.", "model.language_model."],
        qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        ..NAMES
    },
    config: gemma3,
};

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
    let act = keys.str_or("hidden_activation", keys.str_or("hidden_act", "gelu_pytorch_tanh")?)?;
    if !matches!(act, "gelu_pytorch_tanh" | "gelu") {
        return Err(keys.refuse("hidden_activation", "expected gelu_pytorch_tanh"));
    }
    // The libraries compute `gelu` of Gemma configs in its tanh form, too.
    config.act = crate::model::Act::GeluTanh;
    config.d_head = d_head;
    config.embed_scale = (config.d_model as f64).sqrt();
    config.attn_scale = vec![keys.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5); config.n_layers];
    config.attn_softcap = keys.positive("attn_logit_softcapping")?;
    config.logit_softcap = keys.positive("final_logit_softcapping")?;
    Ok(config)
}

/// Whether a layer has a window: as `layer_types` says, else by the rule of the family.
fn windows(keys: Keys, n_layers: usize, default: usize, rule: impl Fn(usize) -> bool) -> Result<Vec<Option<usize>>> {
    let window = keys.size_or("sliding_window", default)?;
    let types = keys.get("layer_types").and_then(|t| t.as_array());
    let local = |layer: usize| match types.and_then(|t| t.get(layer)).and_then(|t| t.as_str()) {
        Some(kind) => kind == "sliding_attention",
        None => rule(layer),
    };
    Ok((0..n_layers).map(|layer| local(layer).then_some(window)).collect())
}

fn gemma2(keys: Keys) -> Result<Config> {
    let mut config = build("gemma2", keys)?;
    if keys.value.get("attn_logit_softcapping").is_none() {
        config.attn_softcap = Some(50.0);
    }
    if keys.value.get("final_logit_softcapping").is_none() {
        config.logit_softcap = Some(30.0);
    }
    config.rope = Some(keys.rope(config.d_head)?);
    // As the Hugging Face model: the first layer has a window, the second has none, and so on.
    config.windows = windows(keys, config.n_layers, 4096, |layer| layer % 2 == 0)?;
    config.check(keys.path)
}

fn gemma3(keys: Keys) -> Result<Config> {
    let mut config = build("gemma3_text", keys)?;
    let dim = config.d_head;
    let pattern = keys.size_or("sliding_window_pattern", keys.size_or("_sliding_window_pattern", 6)?)?;
    config.windows = windows(keys, config.n_layers, 4096, |layer| !(layer + 1).is_multiple_of(pattern))?;
    // Newer configs keep one set of rotary settings for each kind of layer.
    let kinds = keys.get("rope_parameters").filter(|p| p.get("full_attention").is_some());
    let (global, local) = match kinds {
        Some(kinds) => {
            let of = |kind: &str, theta: f64| -> Result<Rope> {
                let value = serde_json::json!({ "rope_theta": theta, "rope_parameters": kinds.get(kind) });
                Keys { value: &value, path: keys.path }.rope(dim)
            };
            (of("full_attention", 1_000_000.0)?, of("sliding_attention", 10_000.0)?)
        }
        None => {
            let mut global = keys.rope(dim)?;
            global.theta = keys.number_or("rope_theta", 1_000_000.0)?;
            let theta = keys.number_or("rope_local_base_freq", 10_000.0)?;
            (global, Rope { theta, dim, scaling: RopeScaling::None })
        }
    };
    (config.rope, config.rope_local) = (Some(global), Some(local));
    config.check(keys.path)
}
