//! EleutherAI's sparsify: `HOOKPOINT/cfg.json` and `HOOKPOINT/sae.safetensors`. `W_dec` is `[d_sae, d_in]` already, and
//! `b_dec` is subtracted whatever `normalize_decoder` says.

use std::path::Path;

use super::{Folder, Given, parts::Parts, place::Place};
use crate::{
    error::Result,
    model::{
        HookPoint, Site,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Sae},
};

pub const FORMAT: Folder = Folder {
    name: "sparsify",
    needs: &["cfg.json", "sae.safetensors"],
    optional: &[],
    repository: &["config.json"],
    load,
};

fn load(dir: &Path, _: &Given) -> Result<Sae> {
    let config_path = dir.join("cfg.json");
    let json = read_json(&config_path)?;
    let keys = Keys { value: &json, path: &config_path };
    let weights = Weights::open(&dir.join("sae.safetensors"))?;
    for key in ["transcode", "skip_connection"] {
        if keys.bool_or(key, false)? {
            return Err(keys
                .refuse(key, "a transcoder reads one module's input and writes its output: it is not an autoencoder"));
        }
    }
    if weights.shape("W_skip").is_some() {
        return Err(keys.refuse("skip_connection", "the file has W_skip: a transcoder is not an autoencoder"));
    }
    if weights.shape("W_dec").is_none() {
        return Err(keys.refuse("num_latents", "the file holds an encoder only; without W_dec there is no autoencoder"));
    }
    if keys.str_or("activation", "topk")? != "topk" {
        return Err(keys.refuse("activation", "only topk is supported"));
    }
    if keys.bool_or("signed", false)? {
        return Err(keys.refuse("signed", "latents of either sign are not supported"));
    }
    let parts = Parts::of_rows(&weights, "encoder.weight")?;
    parts.check(keys, &[("d_in", parts.d_in)])?;
    if keys.get("num_latents").is_some_and(|n| n.as_u64() != Some(0)) {
        parts.check(keys, &[("num_latents", parts.d_sae)])?;
    }
    let module = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let module = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hook = hook(&module, dir, keys)?;
    let k = parts.k(keys, "k")?;
    let mut config = parts.config(Place::of(dir).name(2), "topk", hook);
    let (w_enc, b_enc) = (parts.rows("encoder.weight")?, parts.latents("encoder.bias")?);
    let (w_dec, b_dec) = (parts.rows("W_dec")?, parts.inputs("b_dec")?);
    config.module = Some(module);
    config.source = json;
    parts.refuse_others(&["W_skip"])?;
    let activation = Activation::TopK { k, rescale_by_decoder_norm: false };
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None })
}

/// The folder is named after the module whose output was read. Gemma adds a norm behind its MLP and its attention, so
/// their outputs are not what TransformerLens' hooks show.
fn hook(module: &str, dir: &Path, keys: Keys) -> Result<HookPoint> {
    let Some(hook) = HookPoint::from_module(module) else {
        let module = crate::text::shorten(module, 60);
        return Err(keys.refuse("d_in", &format!("the folder {module:?} names no module that has a hook")));
    };
    let repository = dir.parent().map(|parent| parent.join("config.json")).filter(|path| path.exists());
    let repository = repository.map(|path| read_json(&path)).transpose()?;
    let model = repository.as_ref().and_then(|json| json.get("model")).and_then(|m| m.as_str()).unwrap_or_default();
    if model.to_lowercase().contains("gemma") && !matches!(hook.site, Site::ResidPost) {
        return Err(keys
            .refuse("d_in", &format!("{module:?} of {model} is read before the norm behind it; no hook gives that")));
    }
    Ok(hook)
}
