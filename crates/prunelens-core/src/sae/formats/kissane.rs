//! Kissane and Krzyzanowski's SAEs on `hook_z` of GPT-2 small: `NAME.pt` and `NAME_cfg.json`.

use std::path::{Path, PathBuf};

use super::{File, has, parts::Parts};
use crate::{
    error::{Error, Result},
    model::{
        HookPoint, Space,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Sae},
};

pub const FORMAT: File = File {
    name: "hook_z SAEs",
    example: "NAME.pt and NAME_cfg.json",
    is: |path, weights| has(weights, &["W_enc", "W_dec", "b_enc", "b_dec"]) && config_of(path).exists(),
    load: |path, weights, _| load(path, weights),
};

/// The config that belongs to a file.
fn config_of(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}_cfg.json"))
}

fn load(path: &Path, weights: &Weights) -> Result<Sae> {
    let config_path = config_of(path);
    let json = read_json(&config_path)?;
    let keys = Keys { value: &json, path: &config_path };
    let parts = Parts::of_columns(weights, "W_enc")?;
    parts.check(keys, &[("act_size", parts.d_in), ("dict_size", parts.d_sae)])?;
    let hook: HookPoint =
        keys.str_or("act_name", "")?.parse().map_err(|e: Error| keys.refuse("act_name", &e.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut config = parts.config(crate::text::safe(&name), "standard", hook);
    // Trained on activations as TransformerLens gives them by default.
    config.space = Space::Tl;
    let (w_enc, b_enc) = (parts.columns("W_enc")?, parts.latents("b_enc")?);
    let (w_dec, b_dec) = (parts.rows("W_dec")?, parts.inputs("b_dec")?);
    parts.refuse_others(&[])?;
    config.source = json;
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation: Activation::Relu, decode_scale: None })
}
