//! Llama, and the families that differ from it in config and a few tensors: Mistral, Qwen2, Qwen3.

use super::{Family, Names, PLAIN};
use crate::{
    error::Result,
    model::config::{Config, Keys, NormKind},
};

pub static LLAMA: Family = Family { names: NAMES, config };
pub static MISTRAL: Family = Family { names: NAMES, config: mistral };
pub static QWEN2: Family = Family { names: NAMES, config: qwen2 };
pub static QWEN3: Family =
    Family { names: Names { qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..NAMES }, config: qwen3 };

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
    build("llama", keys)?.check(keys.path)
}

fn mistral(keys: Keys) -> Result<Config> {
    let mut config = build("mistral", keys)?;
    if keys.get("sliding_window").is_some() {
        config.windows = vec![Some(keys.size("sliding_window")?); config.n_layers];
    }
    config.check(keys.path)
}

fn qwen2(keys: Keys) -> Result<Config> {
    qwen("qwen2", keys)
}

fn qwen3(keys: Keys) -> Result<Config> {
    qwen("qwen3", keys)
}

/// Qwen's windows are switched off in its published models; if on, they hold from layer `max_window_layers`.
fn qwen(family: &str, keys: Keys) -> Result<Config> {
    let mut config = build(family, keys)?;
    if keys.bool_or("use_sliding_window", false)? && keys.get("sliding_window").is_some() {
        let (window, full) = (keys.size("sliding_window")?, keys.size_or("max_window_layers", 28)?);
        config.windows = (0..config.n_layers).map(|layer| (layer >= full).then_some(window)).collect();
    }
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
        rope: Some(keys.rope(d_head)?),
        rope_local: None,
        attn_scale: vec![(d_head as f64).powf(-0.5); n_layers],
        windows: vec![None; n_layers],
        attn_softcap: None,
        logit_softcap: None,
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
    })
}
