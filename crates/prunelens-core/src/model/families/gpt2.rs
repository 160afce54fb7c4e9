//! GPT-2.

use super::{Family, Names, PLAIN};
use crate::{
    error::Result,
    model::config::{Config, Keys, NormKind},
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
};

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
        n_ctx: keys.size_or("n_positions", keys.size_or("n_ctx", 1024)?)?,
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
    }
    .check(keys.path)
}
