//! GPT-NeoX: Pythia.

use super::{Family, Names, PLAIN};
use crate::{
    error::Result,
    model::config::{Config, Keys, NormKind},
};

pub static FAMILY: Family = Family {
    names: Names {
        prefixes: &["gpt_neox.", ""],
        embed: "embed_in.weight",
        ln_final: "final_layer_norm",
        unembed: "embed_out.weight",
        block: "layers.{}.",
        ln1: "input_layernorm",
        ln2: "post_attention_layernorm",
        qkv: &["attention.query_key_value"],
        qkv_by_head: true,
        o: "attention.dense",
        mlp_in: &["mlp.dense_h_to_4h"],
        mlp_out: "mlp.dense_4h_to_h",
        ..PLAIN
    },
    config,
};

fn config(keys: Keys) -> Result<Config> {
    let (d_model, n_heads, n_layers) =
        (keys.size("hidden_size")?, keys.size("num_attention_heads")?, keys.layers("num_hidden_layers")?);
    if !d_model.is_multiple_of(n_heads) {
        return Err(keys.refuse("num_attention_heads", "does not divide hidden_size"));
    }
    let d_head = d_model / n_heads;
    let share = keys.number_or("rotary_pct", keys.number_or("partial_rotary_factor", 0.25)?)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(keys.refuse("rotary_pct", "expected a share between 0 and 1"));
    }
    let mut rope = keys.rope((d_head as f64 * share) as usize)?;
    if keys.get("rope_theta").is_none() && keys.get("rope_parameters").is_none() {
        rope.theta = keys.number_or("rotary_emb_base", 10_000.0)?;
    }
    Config {
        family: "gpt_neox".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: keys.size("intermediate_size")?,
        d_vocab: keys.size("vocab_size")?,
        n_ctx: keys.size_or("max_position_embeddings", 2048)?,
        norm: NormKind::LayerNorm,
        eps: keys.number_or("layer_norm_eps", 1e-5)?,
        act: keys.act("hidden_act", "gelu")?,
        gated: false,
        parallel: keys.bool_or("use_parallel_residual", true)?,
        embed_scale: 1.0,
        rope: Some(rope),
        rope_local: None,
        attn_scale: vec![(d_head as f64).powf(-0.5); n_layers],
        windows: vec![None; n_layers],
        attn_softcap: None,
        logit_softcap: None,
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
    }
    .check(keys.path)
}
