//! GPT-2.

use super::{Family, Names, PLAIN, Table, Use};
use crate::{
    error::Result,
    model::config::{Biases, Config, Keys, NormKind},
};

pub static FAMILY: Family = Family {
    names: Names {
        prefixes: &["transformer.", ""],
        embed: "wte.weight",
        positions: Some("wpe.weight"),
        ln_final: "ln_f",
        unembed: "lm_head.weight",
        block: "h.{}.",
        ln1: "ln_1",
        ln2: "ln_2",
        qkv: &["attn.c_attn"],
        o: "attn.c_proj",
        mlp_in: &["mlp.c_fc"],
        mlp_out: "mlp.c_proj",
        conv1d: true,
        ..PLAIN
    },
    config,
    defaults: r#"{"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false, "tie_word_embeddings": true}"#,
    keys: &[KEYS],
};

const KEYS: Table<'static> = &[
    ("n_positions", Use::Read),
    // An older name of the same; transformers does not read it.
    ("n_ctx", Use::Harmless),
    ("n_embd", Use::Read),
    ("n_layer", Use::Read),
    ("n_head", Use::Read),
    ("n_inner", Use::Read),
    ("activation_function", Use::Read),
    ("layer_norm_epsilon", Use::Read),
    ("scale_attn_weights", Use::Read),
    ("scale_attn_by_inverse_layer_idx", Use::Read),
    // The same numbers in another order of types.
    ("reorder_and_upcast_attn", Use::Harmless),
    ("attn_pdrop", Use::Harmless),
    ("embd_pdrop", Use::Harmless),
    ("resid_pdrop", Use::Harmless),
    ("summary_activation", Use::Harmless),
    ("summary_first_dropout", Use::Harmless),
    ("summary_proj_to_labels", Use::Harmless),
    ("summary_type", Use::Harmless),
    ("summary_use_proj", Use::Harmless),
];

fn config(keys: Keys) -> Result<Config> {
    let (d_model, n_heads, n_layers) = (keys.size("n_embd")?, keys.size("n_head")?, keys.layers("n_layer")?);
    if !d_model.is_multiple_of(n_heads) {
        return Err(keys.refuse("n_head", "does not divide n_embd"));
    }
    let d_head = d_model / n_heads;
    let scale = if keys.bool_or("scale_attn_weights", true)? { (d_head as f64).powf(-0.5) } else { 1.0 };
    let by_layer = keys.bool_or("scale_attn_by_inverse_layer_idx", false)?;
    let attn_scale = (0..n_layers).map(|layer| if by_layer { scale / (layer + 1) as f64 } else { scale });
    Config {
        family: "gpt2".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: keys.size_or("n_inner", 4 * d_model)?,
        d_vocab: keys.size("vocab_size")?,
        n_ctx: keys.size("n_positions")?,
        norm: NormKind::LayerNorm,
        eps: keys.number_or("layer_norm_epsilon", 1e-5)?,
        act: keys.act("activation_function", "gelu_new")?,
        gated: false,
        parallel: false,
        embed_scale: 1.0,
        rope: None,
        rope_local: None,
        attn_scale: attn_scale.collect(),
        windows: vec![None; n_layers],
        attn_softcap: None,
        logit_softcap: None,
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
        tied: keys.bool_or("tie_word_embeddings", true)?,
        biases: Biases { qkv: true, o: true, mlp: true },
        warnings: Vec::new(),
    }
    .check(keys.path)
}
