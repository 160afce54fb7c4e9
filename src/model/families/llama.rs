//! Llama.

use super::{Family, Names};
use crate::{
    error::Result,
    model::config::{Config, Keys, NormKind},
};

pub static FAMILY: Family = Family {
    names: Names {
        prefixes: &["model.", ""],
        embed: "embed_tokens.weight",
        positions: None,
        ln_final: "norm",
        unembed: "lm_head.weight",
        block: "layers.{}.",
        ln1: "input_layernorm",
        ln2: "post_attention_layernorm",
        qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        o: "self_attn.o_proj",
        mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
        mlp_out: "mlp.down_proj",
        conv1d: false,
    },
    config,
};

fn config(keys: Keys) -> Result<Config> {
    let (d_model, n_heads, n_layers) =
        (keys.size("hidden_size")?, keys.size("num_attention_heads")?, keys.size("num_hidden_layers")?);
    let d_head = keys.size_or("head_dim", (d_model / n_heads).max(1))?;
    let n_ctx = keys.size_or("max_position_embeddings", 2048)?;
    Config {
        family: "llama".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: keys.size_or("num_key_value_heads", n_heads)?,
        d_head,
        d_mlp: keys.size("intermediate_size")?,
        d_vocab: keys.size("vocab_size")?,
        n_ctx,
        norm: NormKind::RmsNorm,
        eps: keys.number_or("rms_norm_eps", 1e-6)?,
        act: keys.act("hidden_act", "silu")?,
        gated: true,
        rope: Some(keys.rope()?),
        attn_scale: vec![(d_head as f64).powf(-0.5); n_layers],
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
    }
    .check(keys.path)
}
