//! Llama, and the families that differ from it in config and a few tensors: Mistral, Qwen2, Qwen3.

use super::{Family, Names, PLAIN, Table, Use};
use crate::{
    error::Result,
    model::config::{Biases, Config, Keys, NormKind},
};

pub static LLAMA: Family = Family {
    names: NAMES,
    config,
    defaults: r#"{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": false}"#,
    keys: &[DECODER, LLAMA_KEYS],
};
pub static MISTRAL: Family = Family {
    names: NAMES,
    config: mistral,
    defaults: r#"{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false}"#,
    keys: &[DECODER, MISTRAL_KEYS],
};
pub static QWEN2: Family =
    Family { names: NAMES, config: qwen2, defaults: QWEN2_DEFAULTS, keys: &[DECODER, QWEN2_KEYS] };
pub static QWEN3: Family = Family {
    names: Names { qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..NAMES },
    config: qwen3,
    defaults: r#"{"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false,
        "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28, "tie_word_embeddings": false}"#,
    keys: &[DECODER, QWEN3_KEYS],
};

const QWEN2_DEFAULTS: &str = r#"{"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
    "sliding_window": 4096, "max_window_layers": 28, "tie_word_embeddings": false}"#;

/// Of each family here and of Gemma's: what [`build`] reads.
pub const DECODER: Table<'static> = &[
    ("hidden_size", Use::Read),
    ("intermediate_size", Use::Read),
    ("num_hidden_layers", Use::Read),
    ("num_attention_heads", Use::Read),
    ("num_key_value_heads", Use::Read),
    ("head_dim", Use::Read),
    ("hidden_act", Use::Read),
    ("max_position_embeddings", Use::Read),
    ("rms_norm_eps", Use::Read),
    ("rope_theta", Use::Read),
    ("rope_scaling", Use::Read),
    ("rope_parameters", Use::Read),
    ("partial_rotary_factor", Use::Only(&["1", "1.0"])),
];

const LLAMA_KEYS: Table<'static> = &[
    ("attention_bias", Use::Read),
    ("mlp_bias", Use::Read),
    // How training was split over machines; it has no effect on what is computed.
    ("pretraining_tp", Use::Harmless),
    ("rope_interleaved", Use::Only(&["false"])),
];

const MISTRAL_KEYS: Table<'static> =
    &[("sliding_window", Use::Read), ("attention_bias", Use::Only(&["false"])), ("mlp_bias", Use::Only(&["false"]))];

const QWEN2_KEYS: Table<'static> = &[
    ("use_sliding_window", Use::Read),
    ("sliding_window", Use::Read),
    ("max_window_layers", Use::Read),
    ("layer_types", Use::Read),
    ("use_mrope", Use::Only(&["false"])),
    // Qwen2 has biases on queries, keys and values, whatever is said.
    ("attention_bias", Use::Unread),
    ("mlp_bias", Use::Only(&["false"])),
];

const QWEN3_KEYS: Table<'static> = &[
    ("attention_bias", Use::Read),
    ("use_sliding_window", Use::Read),
    ("sliding_window", Use::Read),
    ("max_window_layers", Use::Read),
    ("layer_types", Use::Read),
    ("mlp_bias", Use::Only(&["false"])),
];

pub const NAMES: Names = Names {
    prefixes: &["model.", ""],
    embed: "embed_tokens.weight",
    ln_final: "norm",
    unembed: "lm_head.weight",
    block: "layers.{}.",
    ln1: "input_layernorm",
    ln2: "post_attention_layernorm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    o: "self_attn.o_proj",
    mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
    mlp_out: "mlp.down_proj",
    ..PLAIN
};

fn config(keys: Keys) -> Result<Config> {
    let mut config = build("llama", keys)?;
    let attention = keys.bool_or("attention_bias", false)?;
    config.biases = Biases { qkv: attention, o: attention, mlp: keys.bool_or("mlp_bias", false)? };
    config.check(keys.path)
}

fn mistral(keys: Keys) -> Result<Config> {
    let mut config = build("mistral", keys)?;
    if keys.get("sliding_window").is_some() {
        config.windows = vec![Some(keys.size("sliding_window")?); config.n_layers];
    }
    config.check(keys.path)
}

fn qwen2(keys: Keys) -> Result<Config> {
    let biases = Biases { qkv: true, o: false, mlp: false };
    qwen(Config { biases, ..build("qwen2", keys)? }, keys)
}

fn qwen3(keys: Keys) -> Result<Config> {
    let attention = keys.bool_or("attention_bias", false)?;
    let biases = Biases { qkv: attention, o: attention, mlp: false };
    qwen(Config { biases, ..build("qwen3", keys)? }, keys)
}

/// Qwen's windows are switched off in its published models; if on, they hold in the layers that `layer_types` lists, or
/// from layer `max_window_layers`.
fn qwen(mut config: Config, keys: Keys) -> Result<Config> {
    let on = keys.bool_or("use_sliding_window", false)? && keys.get("sliding_window").is_some();
    let window = if on { Some(keys.size("sliding_window")?) } else { None };
    let full = keys.count("max_window_layers")?;
    config.windows = keys.windows(config.n_layers, window, |layer| window.is_some() && layer >= full)?;
    config.check(keys.path)
}

/// What the keys of a Llama-like config say; callers add what their family has beyond it.
pub fn build(family: &str, keys: Keys) -> Result<Config> {
    let (d_model, n_heads, n_layers) =
        (keys.size("hidden_size")?, keys.size("num_attention_heads")?, keys.layers("num_hidden_layers")?);
    let d_head = keys.size_or("head_dim", (d_model / n_heads).max(1))?;
    Ok(Config {
        family: family.into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: keys.size_or("num_key_value_heads", n_heads)?,
        d_head,
        d_mlp: keys.size("intermediate_size")?,
        d_vocab: keys.size("vocab_size")?,
        n_ctx: keys.size_or("max_position_embeddings", 2048)?,
        norm: NormKind::RmsNorm,
        eps: keys.number_or("rms_norm_eps", 1e-6)?,
        act: keys.act("hidden_act", "silu")?,
        gated: true,
        parallel: false,
        embed_scale: 1.0,
        rope: Some(keys.rope(d_head, 1.0)?),
        rope_local: None,
        attn_scale: vec![(d_head as f64).powf(-0.5); n_layers],
        windows: vec![None; n_layers],
        attn_softcap: None,
        logit_softcap: None,
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
        tied: keys.bool_or("tie_word_embeddings", false)?,
        biases: Biases::default(),
        warnings: Vec::new(),
    })
}
