//! GPT-NeoX: Pythia.

use super::{Family, Names, PLAIN, Table, Use};
use crate::{
    error::Result,
    model::config::{Biases, Config, Keys, NormKind, Rope},
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
    defaults: r#"{"vocab_size": 50432, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 44,
        "num_attention_heads": 64, "hidden_act": "gelu", "max_position_embeddings": 2048, "layer_norm_eps": 1e-5,
        "attention_bias": true, "use_parallel_residual": true, "tie_word_embeddings": false}"#,
    keys: &[KEYS],
};

const KEYS: Table<'static> = &[
    ("hidden_size", Use::Read),
    ("intermediate_size", Use::Read),
    ("num_hidden_layers", Use::Read),
    ("num_attention_heads", Use::Read),
    ("hidden_act", Use::Read),
    ("rotary_pct", Use::Read),
    ("rotary_emb_base", Use::Read),
    ("partial_rotary_factor", Use::Read),
    ("rope_theta", Use::Read),
    ("rope_scaling", Use::Read),
    ("rope_parameters", Use::Read),
    ("max_position_embeddings", Use::Read),
    ("layer_norm_eps", Use::Read),
    ("attention_bias", Use::Read),
    ("use_parallel_residual", Use::Read),
    ("hidden_dropout", Use::Harmless),
];

fn config(keys: Keys) -> Result<Config> {
    let (d_model, n_heads, n_layers) =
        (keys.size("hidden_size")?, keys.size("num_attention_heads")?, keys.layers("num_hidden_layers")?);
    if !d_model.is_multiple_of(n_heads) {
        return Err(keys.refuse("num_attention_heads", "does not divide hidden_size"));
    }
    let d_head = d_model / n_heads;
    let rope = rope(keys, d_head)?;
    let attention = keys.bool_or("attention_bias", true)?;
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
        tied: keys.bool_or("tie_word_embeddings", false)?,
        biases: Biases { qkv: attention, o: attention, mlp: true },
        warnings: Vec::new(),
    }
    .check(keys.path)
}

/// Files of transformers 4 have `rotary_pct` and `rotary_emb_base`, and repeat them as `partial_rotary_factor` and
/// `rope_theta`, which it does not read again; those of 5 have both in `rope_parameters`.
fn rope(keys: Keys, d_head: usize) -> Result<Rope> {
    let newer = keys.get("rope_parameters").map(|value| Keys { value, ..keys });
    let (share, theta) = match newer {
        Some(inner) => (inner.number_or("partial_rotary_factor", keys.number_or("rotary_pct", 0.25)?)?, None),
        None => {
            let (share, theta) = (keys.number_or("rotary_pct", 0.25)?, keys.number_or("rotary_emb_base", 10_000.0)?);
            for (key, read) in [("partial_rotary_factor", share), ("rope_theta", theta)] {
                if keys.number_or(key, read)? != read {
                    let why = format!("transformers 4 computes with {read} and 5 with this; keep one of them");
                    return Err(keys.refuse(key, &why));
                }
            }
            (share, Some(theta))
        }
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(keys.refuse("rotary_pct", "expected a share between 0 and 1"));
    }
    let rope = keys.rope((d_head as f64 * share) as usize, share)?;
    Ok(Rope { theta: theta.unwrap_or(rope.theta), ..rope })
}
