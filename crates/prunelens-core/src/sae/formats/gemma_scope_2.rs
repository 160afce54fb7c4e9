//! Gemma Scope 2 (`google/gemma-scope-2-{270m,1b,4b,12b,27b}-{pt,it}`): `params.safetensors`, and mostly a `config.json`.

use std::path::Path;

use serde_json::Value;

use super::{Folder, Given, parts::Parts, place::Place};
use crate::{
    error::{Error, Result},
    model::{
        HookPoint, Site,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Sae},
};

pub const FORMAT: Folder =
    Folder { name: "Gemma Scope 2", needs: &["params.safetensors"], optional: &["config.json"], repository: &[], load };

fn load(dir: &Path, given: &Given) -> Result<Sae> {
    let config_path = dir.join("config.json");
    let json = if config_path.exists() { read_json(&config_path)? } else { Value::Null };
    let keys = Keys { value: &json, path: &config_path };
    let weights = Weights::open(&dir.join("params.safetensors"))?;
    let parts = Parts::of_columns(&weights, "w_enc")?;
    parts.check(keys, &[("width", parts.d_sae)]).or_else(|e| {
        // Widths are published as round numbers, too: 16k is a name, not a size.
        if keys.get("width").is_some_and(Value::is_u64) { Err(e) } else { Ok(()) }
    })?;
    if keys.str_or("architecture", "jump_relu")? != "jump_relu" {
        return Err(keys.refuse("architecture", "expected jump_relu"));
    }
    let affine = keys.bool_or("affine_connection", false)? || weights.shape("affine_skip_connection").is_some();
    let (from, to) = (keys.str_or("hf_hook_point_in", "")?, keys.str_or("hf_hook_point_out", "")?);
    if affine || from != to {
        return Err(keys
            .refuse("hf_hook_point_out", "a transcoder reads one hook and writes another: it is not an autoencoder"));
    }
    let place = Place::of(dir);
    // The innermost that says something: folders further out may be called anything.
    let kinds = ["resid_post", "attn_out", "mlp_out", "transcoder", "crosscoder", "clt"];
    let kind = place.find_map(|name| kinds.into_iter().find(|kind| of_kind(name, kind)));
    if let Some(kind) = kind.filter(|kind| kinds[3..].contains(kind)) {
        return Err(Error::file(dir, format!("a {kind} reads one hook and writes others: it is not an autoencoder")));
    }
    let stated = HookPoint::from_module(from);
    let hook = stated.or_else(|| by_folder(&place)).or(given.hook).ok_or_else(|| {
        Error::file(dir, "its hook is not known: expected hf_hook_point_in of config.json, or folders such as resid_post/layer_12_...; give --hook")
    })?;
    let mut config = parts.config(place.name(2), "jumprelu", hook);
    config.apply_b_dec_to_input = false;
    let activation = Activation::JumpRelu { threshold: parts.latents("threshold")? };
    let (w_enc, b_enc) = (parts.columns("w_enc")?, parts.latents("b_enc")?);
    let (w_dec, b_dec) = (parts.rows("w_dec")?, parts.inputs("b_dec")?);
    parts.refuse_others(&[])?;
    config.source = json;
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None })
}

/// `mlp_out`, `mlp_out_all`.
fn of_kind(name: &str, kind: &str) -> bool {
    name.strip_suffix("_all").unwrap_or(name) == kind
}

/// `attn_out` is the input of the output projection, whatever the folder is called.
fn by_folder(place: &Place) -> Option<HookPoint> {
    let site = place.find_map(|name| match name.strip_suffix("_all").unwrap_or(name) {
        "resid_post" => Some(Site::ResidPost),
        "attn_out" => Some(Site::Z),
        "mlp_out" => Some(Site::MlpOut),
        _ => None,
    });
    Some(HookPoint { layer: place.layer()?, site: site? })
}
