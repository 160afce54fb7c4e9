//! Llama Scope (`fnlp/Llama3_1-8B-Base-LX{R,A,M}-{8x,32x}`) and its R1 distillation. Weights are stored in the space of
//! activations scaled to norm `sqrt(d_model)`; the factor is folded in, as SAELens does.

use std::path::Path;

use candle_core::D;
use serde_json::Value;

use super::{Folder, Given, parts::Parts, place::Place};
use crate::{
    error::{Error, Result},
    model::{
        HookPoint,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Sae, SaeConfig},
};

pub const R1: Folder = Folder {
    name: "Llama Scope R1",
    needs: &["config.json", "sae_weights.safetensors"],
    optional: &[],
    repository: &[],
    load: load_r1,
};

pub const FORMAT: Folder = Folder {
    name: "Llama Scope",
    needs: &["hyperparams.json", "checkpoints/final.safetensors"],
    optional: &["lm_config.json"],
    repository: &[],
    load,
};

fn load(dir: &Path, given: &Given) -> Result<Sae> {
    let config_path = dir.join("hyperparams.json");
    let json = read_json(&config_path)?;
    let keys = Keys { value: &json, path: &config_path };
    let weights = Weights::open(&dir.join("checkpoints").join("final.safetensors"))?;
    let parts = Parts::of_rows(&weights, "encoder.weight")?;
    if keys.str_or("act_fn", "jumprelu")? != "jumprelu" {
        return Err(keys.refuse("act_fn", "expected jumprelu"));
    }
    if keys.bool_or("use_glu_encoder", false)? {
        return Err(keys.refuse("use_glu_encoder", "an encoder with a second, gating matrix is not supported"));
    }
    let scale = factor(&parts, keys, "in", given)?;
    let threshold = (keys.number("jump_relu_threshold")? * scale) as f32;
    let activation = Activation::JumpRelu { threshold: vec![threshold; parts.d_sae] };
    build(&parts, keys, Place::of(dir), scale, activation, given)
}

fn load_r1(dir: &Path, given: &Given) -> Result<Sae> {
    let config_path = dir.join("config.json");
    let json = read_json(&config_path)?;
    let keys = Keys { value: &json, path: &config_path };
    let weights = Weights::open(&dir.join("sae_weights.safetensors"))?;
    if weights.shape("log_jumprelu_threshold").is_none() {
        return Err(Error::file(
            weights.path(),
            "a config.json without cfg.json is Llama Scope R1's layout, but tensor \"log_jumprelu_threshold\" is missing",
        ));
    }
    let parts = Parts::of_rows(&weights, "encoder.weight")?;
    let hook = keys.str_or("hook_point_in", "")?;
    let scale = factor(&parts, keys, hook, given)?;
    let threshold = parts.latents("log_jumprelu_threshold")?.iter().map(|t| t.exp()).collect();
    build(&parts, keys, Place::of(dir), scale, Activation::JumpRelu { threshold }, given)
}

/// `sqrt(d_model) / average norm`.
fn factor(parts: &Parts, keys: Keys, name: &str, given: &Given) -> Result<f64> {
    if let Some(factor) = given.norm_scaling_factor {
        return Ok(factor);
    }
    let key = "dataset_average_activation_norm";
    let norm = keys.get(key).and_then(|norms| norms.get(name).or(Some(norms))).and_then(Value::as_f64);
    let norm = norm.filter(|n| n.is_finite() && *n > 0.0).ok_or_else(|| {
        keys.refuse(key, "the average norm of the activations is missing; give the factor with --norm-scaling-factor")
    })?;
    Ok((parts.d_in as f64).sqrt() / norm)
}

fn build(parts: &Parts, keys: Keys, place: Place, scale: f64, activation: Activation, given: &Given) -> Result<Sae> {
    parts.check(keys, &[("d_model", parts.d_in), ("d_sae", parts.d_sae)])?;
    let (from, to) = (keys.str_or("hook_point_in", "")?, keys.str_or("hook_point_out", "")?);
    if !to.is_empty() && from != to {
        return Err(
            keys.refuse("hook_point_out", "a transcoder reads one hook and writes another: it is not an autoencoder")
        );
    }
    let stated = from.parse::<HookPoint>().map_err(|e| keys.refuse("hook_point_in", &e.to_string()));
    let hook = stated.or_else(|e| given.hook.ok_or(e))?;
    let (w_enc, w_dec) = (parts.rows("encoder.weight")?, parts.columns("decoder.weight")?);
    let norms: Vec<f32> = w_dec.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1()?;
    let mut warnings = Vec::new();
    if norms.iter().any(|n| (n - 1.0).abs() > 0.05) {
        warnings.push(
            "decoder rows of this SAE do not have norm 1: SAELens and OpenMOSS' own code then disagree on which latents \
             fire; SAELens is followed"
                .into(),
        );
    }
    let b_dec = parts.inputs("decoder.bias")?.iter().map(|b| (f64::from(*b) / scale) as f32).collect();
    let config = SaeConfig {
        apply_b_dec_to_input: false,
        source: keys.value.clone(),
        warnings,
        ..parts.config(place.name(1), "jumprelu", hook)
    };
    let b_enc = parts.latents("encoder.bias")?;
    parts.refuse_others(&[])?;
    Ok(Sae { config, w_enc: (w_enc * scale)?, b_enc, w_dec: (w_dec / scale)?, b_dec, activation, decode_scale: None })
}
