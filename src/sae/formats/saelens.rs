//! SAELens folders: `cfg.json` and `sae_weights.safetensors`, flat configs of versions up to 5 and nested ones of 6.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    kernels::matmul::transpose,
    model::{
        HookPoint, Space,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Normalize, Sae, SaeConfig},
};

pub fn load(dir: &Path) -> Result<Sae> {
    let config_path = dir.join("cfg.json");
    let json = read_json(&config_path)?;
    let weights = Weights::open(&dir.join("sae_weights.safetensors"))?;
    let name = dir.file_name().map_or("sae".into(), |n| crate::text::safe(&n.to_string_lossy()));
    from_weights(FromConfig { name, path: &config_path, json, folder: dir }, &weights)
}

/// A parsed `cfg.json` and where it stood.
pub struct FromConfig<'a> {
    pub name: String,
    pub path: &'a Path,
    pub json: Value,
    /// The folder's whole path: some releases are told by it.
    pub folder: &'a Path,
}

/// From a parsed config and its tensors.
pub fn from_weights(from: FromConfig, weights: &Weights) -> Result<Sae> {
    let json = &from.json;
    let keys = Keys { value: json, path: from.path };
    let metadata = Keys { value: json.get("metadata").unwrap_or(&Value::Null), path: from.path };
    let shape = weights.shape("W_enc").map(<[usize]>::to_vec).unwrap_or_default();
    let [d_in, d_sae] = shape[..] else {
        return Err(Error::file(
            weights.path(),
            format!("tensor \"W_enc\": expected shape [d_in, d_sae], found {shape:?}"),
        ));
    };
    for (key, value) in [("d_in", d_in), ("d_sae", d_sae)] {
        if keys.get(key).is_some() && keys.size(key)? != value {
            return Err(keys.refuse(key, &format!("the tensors of {} say {value}", weights.path().display())));
        }
    }
    let architecture = keys.str_or("architecture", "standard")?;
    let k = top_k(keys)?;
    let hook = hook(keys, metadata)?;
    let b_dec = weights.f32("b_dec", &[d_in])?;
    let vector = |name: &str| weights.f32(name, &[d_sae]);
    let (architecture, b_enc, activation) = match (architecture, k) {
        ("standard" | "topk", Some(k)) => {
            let k = usize::try_from(k).ok().filter(|k| (1..=d_sae).contains(k));
            let k = k.ok_or_else(|| keys.refuse("k", &format!("expected 1 to d_sae = {d_sae}")))?;
            let rescale_by_decoder_norm = keys.bool_or("rescale_acts_by_decoder_norm", false)?;
            ("topk", vector("b_enc")?, Activation::TopK { k, rescale_by_decoder_norm })
        }
        ("topk", None) => return Err(keys.refuse("k", "a topk SAE needs it")),
        ("standard", None) => {
            let act = keys.str_or("activation_fn", keys.str_or("activation_fn_str", "relu")?)?;
            let activation = match act {
                "relu" => Activation::Relu,
                "tanh-relu" => Activation::TanhRelu,
                _ => return Err(keys.refuse("activation_fn", "expected relu, tanh-relu or topk")),
            };
            ("standard", vector("b_enc")?, activation)
        }
        ("jumprelu", _) => ("jumprelu", vector("b_enc")?, Activation::JumpRelu { threshold: vector("threshold")? }),
        ("gated", _) => {
            let activation = Activation::Gated { r_mag: vector("r_mag")?, b_mag: vector("b_mag")? };
            ("gated", vector("b_gate")?, activation)
        }
        (other, _) => {
            let why = if other.contains("transcoder") {
                "a transcoder reads one hook and writes another: it is not an autoencoder".into()
            } else {
                format!(
                    "architecture {:?} is not one of standard, topk, jumprelu, gated",
                    crate::text::shorten(other, 40)
                )
            };
            return Err(keys.refuse("architecture", &why));
        }
    };
    let matrix = |values: Vec<f32>| Tensor::from_vec(values, (d_sae, d_in), &Device::Cpu);
    let w_enc = matrix(transpose(&weights.f32("W_enc", &[d_in, d_sae])?, d_in, d_sae))?;
    let w_dec = matrix(weights.f32("W_dec", &[d_sae, d_in])?)?;
    let config = SaeConfig {
        architecture,
        d_in,
        d_sae,
        hook,
        normalize: normalize(keys)?,
        apply_b_dec_to_input: keys.bool_or("apply_b_dec_to_input", true)?,
        prepend_bos: keys.bool_or("prepend_bos", metadata.bool_or("prepend_bos", true)?)?,
        space: space(keys, metadata, from.folder)?,
        name: from.name,
        source: from.json.clone(),
    };
    Ok(Sae { decode_scale: decode_scale(keys, weights, d_sae)?, config, w_enc, b_enc, w_dec, b_dec, activation })
}

/// `k` of a TopK SAE: top-level in version 6, inside `activation_fn_kwargs` before, where `architecture` may say standard.
fn top_k(keys: Keys) -> Result<Option<u64>> {
    let act = keys.str_or("activation_fn", keys.str_or("activation_fn_str", "")?)?;
    let kwargs = keys.get("activation_fn_kwargs").and_then(|k| k.get("k"));
    let k = if act == "topk" {
        kwargs
    } else {
        keys.get("k").filter(|_| keys.str_or("architecture", "").is_ok_and(|a| a == "topk"))
    };
    match k {
        Some(k) => k.as_u64().map(Some).ok_or_else(|| keys.refuse("k", "expected a whole number")),
        None if act == "topk" => Err(keys.refuse("activation_fn_kwargs", "a topk SAE needs its k")),
        None => Ok(None),
    }
}

fn hook(keys: Keys, metadata: Keys) -> Result<HookPoint> {
    let head = metadata
        .get("hook_head_index")
        .or_else(|| keys.get("hook_head_index"))
        .or_else(|| keys.get("hook_point_head_index"));
    if head.is_some() {
        return Err(keys.refuse("hook_head_index", "an SAE on a single head is not supported"));
    }
    let name = metadata.str_or("hook_name", keys.str_or("hook_name", keys.str_or("hook_point", "")?)?)?;
    if name.is_empty() {
        return Err(keys.refuse("hook_name", "missing; expected a name such as blocks.8.hook_resid_post"));
    }
    name.parse().map_err(|e: Error| keys.refuse("hook_name", &e.to_string()))
}

fn normalize(keys: Keys) -> Result<Normalize> {
    match keys.get("normalize_activations") {
        None | Some(Value::Bool(false)) => Ok(Normalize::None),
        Some(Value::String(name)) => match name.as_str() {
            // The factor of `expected_average_only_in` is not in the file; files that need none were folded before saving.
            "none" | "expected_average_only_in" => Ok(Normalize::None),
            "layer_norm" => Ok(Normalize::LayerNorm),
            "constant_norm_rescale" => Ok(Normalize::ConstantNormRescale),
            _ => Err(keys.refuse(
                "normalize_activations",
                "expected none, layer_norm, constant_norm_rescale or expected_average_only_in",
            )),
        },
        Some(Value::Bool(true)) => Ok(Normalize::None),
        Some(_) => Err(keys.refuse("normalize_activations", "expected a name")),
    }
}

/// Which activations it was trained on: before 3.19.2 the default-processed model, then the untouched one, each as
/// `model_from_pretrained_kwargs` changes it. The SAEs of arXiv 2507.15977 were trained on the processed model whatever
/// their config says.
fn space(keys: Keys, metadata: Keys, folder: &Path) -> Result<Space> {
    if folder.components().any(|c| c.as_os_str().to_string_lossy().contains("sae-compression-")) {
        return Ok(Space::Tl);
    }
    let pick = |key: &str| metadata.get(key).or_else(|| keys.get(key));
    let version = pick("sae_lens_training_version").or_else(|| pick("sae_lens_version")).and_then(Value::as_str);
    let number =
        |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(0);
    let version: Option<Vec<u32>> = version.map(|v| v.split('.').take(3).map(number).collect());
    let center =
        pick("model_from_pretrained_kwargs").and_then(|k| k.get("center_writing_weights")).and_then(Value::as_bool);
    Ok(match version {
        Some(v) if v[..] >= [3, 19, 2][..] => {
            if center == Some(true) {
                Space::Centered
            } else {
                Space::Raw
            }
        }
        _ => Space::Tl,
    })
}

/// `scaling_factor`: all ones is as good as absent; anything else needs the config's word for it.
fn decode_scale(keys: Keys, weights: &Weights, d_sae: usize) -> Result<Option<Vec<f32>>> {
    if weights.shape("scaling_factor").is_none() {
        return Ok(None);
    }
    let scale = weights.f32("scaling_factor", &[d_sae])?;
    if scale.iter().all(|s| (s - 1.0).abs() <= 1e-5) {
        return Ok(None);
    }
    if !keys.bool_or("finetuning_scaling_factor", false)? {
        return Err(keys
            .refuse("finetuning_scaling_factor", "the file holds a scaling_factor tensor, but this key is not true"));
    }
    if scale.contains(&0.0) {
        return Err(Error::file(weights.path(), "tensor \"scaling_factor\" holds zeros"));
    }
    Ok(Some(scale))
}
