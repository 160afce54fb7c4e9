//! SAELens folders: `cfg.json` and `sae_weights.safetensors`, flat configs of versions up to 5 and nested ones of 6.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Folder, Given, parts::Parts, place::Place, saelens_keys, save::PROCESSED_VERSION};
use crate::{
    error::{Error, Result},
    model::{
        HookPoint, Space,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Normalize, Sae, SaeConfig},
};

pub const FORMAT: Folder =
    Folder { name: "SAELens", needs: &["cfg.json", "sae_weights.safetensors"], optional: &[], repository: &[], load };

fn load(dir: &Path, given: &Given) -> Result<Sae> {
    let config_path = dir.join("cfg.json");
    let json = read_json(&config_path)?;
    let weights = Weights::open(&dir.join("sae_weights.safetensors"))?;
    let name = dir.file_name().map_or("sae".into(), |n| crate::text::safe(&n.to_string_lossy()));
    from_weights(FromConfig { name, path: &config_path, json, folder: dir, given: *given }, &weights)
}

/// A parsed `cfg.json` and where it stood.
pub struct FromConfig<'a> {
    /// What the SAE will be called.
    pub name: String,
    /// Of `cfg.json`, for messages.
    pub path: &'a Path,
    /// What `cfg.json` holds.
    pub json: Value,
    /// The folder's whole path: some releases are told by it.
    pub folder: &'a Path,
    /// What the user says besides.
    pub given: Given,
}

/// From a parsed config and its tensors.
pub fn from_weights(from: FromConfig, weights: &Weights) -> Result<Sae> {
    let json = &from.json;
    let keys = Keys { value: json, path: from.path };
    let metadata = Keys { value: json.get("metadata").unwrap_or(&Value::Null), path: from.path };
    let architecture = keys.str_or("architecture", "standard")?;
    if architecture.contains("transcoder") {
        let why = "a transcoder reads one hook and writes another: it is not an autoencoder";
        return Err(keys.refuse("architecture", why));
    }
    if !["standard", "topk", "jumprelu", "gated"].contains(&architecture) {
        let why = format!("{:?} is not one of standard, topk, jumprelu, gated", crate::text::shorten(architecture, 40));
        return Err(keys.refuse("architecture", &why));
    }
    let mut warnings = saelens_keys::check(keys)?;
    let parts = Parts::of_columns(weights, "W_enc")?;
    let (d_in, d_sae) = (parts.d_in, parts.d_sae);
    parts.check(keys, &[("d_in", d_in), ("d_sae", d_sae)])?;
    let k = top_k(keys)?;
    let (hook, module) = match hook(keys, metadata) {
        Ok((hook, module)) => (hook, module),
        Err(e) => (from.given.hook.ok_or(e)?, None),
    };
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
        _ => return Err(keys.refuse("architecture", "expected standard, topk, jumprelu or gated")),
    };
    let (w_enc, w_dec) = (parts.columns("W_enc")?, parts.rows("W_dec")?);
    let place = Place::of(from.folder);
    let release = Release::of(&place, hook);
    let (normalize, scaled) = normalize(keys)?;
    let factor = from.given.norm_scaling_factor.or(release.norm_scaling_factor).filter(|_| scaled);
    if from.given.norm_scaling_factor.is_some() && !scaled {
        warnings.push(format!("{}: it takes activations as they are; --norm-scaling-factor is not for it", from.name));
    }
    if scaled && factor.is_none() {
        warnings.push(format!(
            "{}: its weights are for activations scaled to an average norm, but the factor is not in the file; they are \
             used as they are. Give the factor with --norm-scaling-factor",
            from.name
        ));
    }
    let config = SaeConfig {
        module,
        normalize: release.normalize.unwrap_or(normalize),
        apply_b_dec_to_input: keys.bool_or("apply_b_dec_to_input", true)?,
        prepend_bos: keys.bool_or("prepend_bos", metadata.bool_or("prepend_bos", true)?)?,
        space: if of_the_paper(&place) { Space::Tl } else { space(keys, metadata) },
        source: from.json.clone(),
        warnings,
        ..parts.config(from.name, architecture, hook)
    };
    let decode_scale = decode_scale(keys, weights, d_sae)?;
    parts.refuse_others(&["sparsity"])?;
    let sae = Sae { decode_scale, config, w_enc, b_enc, w_dec, b_dec, activation };
    match factor {
        Some(factor) => fold(sae, factor),
        None => Ok(sae),
    }
}

/// Weights for activations as they are, from weights for activations times a factor.
fn fold(mut sae: Sae, factor: f64) -> Result<Sae> {
    sae.config.folded = Some(factor);
    (sae.w_enc, sae.w_dec) = ((sae.w_enc * factor)?, (sae.w_dec / factor)?);
    sae.b_dec.iter_mut().for_each(|b| *b = (f64::from(*b) / factor) as f32);
    Ok(sae)
}

/// What SAELens' table of releases says that the files do not.
#[derive(Default)]
struct Release {
    norm_scaling_factor: Option<f64>,
    normalize: Option<Normalize>,
}

/// `tommmcgrath/gpt2-small-mlp-out-saes`, layers 0 to 11.
const MLP_OUT_FACTORS: [f64; 12] = [
    1.049317316132615,
    2.3693984005104283,
    1.6411934982190302,
    1.8958522157897557,
    1.81673478700627,
    1.550234472245924,
    1.3237742807210804,
    1.1042905114723296,
    0.9123762783479742,
    0.6955335635232373,
    0.3619728926727644,
    0.2851548652550073,
];

impl Release {
    fn of(place: &Place, hook: HookPoint) -> Self {
        if place.find("gpt2-small-mlp-out-saes").is_some() {
            return Self { norm_scaling_factor: MLP_OUT_FACTORS.get(hook.layer).copied(), ..Self::default() };
        }
        if place.find("Gemma-2b-Residual-Stream-SAEs").is_some() {
            let factor = (hook.layer == 12).then_some(0.21381938399317255);
            return Self { norm_scaling_factor: factor, ..Self::default() };
        }
        if place.find("Mistral-7B-Residual-Stream-SAEs").is_some() {
            return Self { normalize: Some(Normalize::ConstantNormRescale), ..Self::default() };
        }
        Self::default()
    }
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

/// The hook, and the module that stands for it.
fn hook(keys: Keys, metadata: Keys) -> Result<(HookPoint, Option<String>)> {
    let head = metadata
        .get("hook_head_index")
        .or_else(|| keys.get("hook_head_index"))
        .or_else(|| keys.get("hook_point_head_index"));
    if head.is_some() {
        return Err(keys.refuse("hook_head_index", "an SAE on a single head is not supported"));
    }
    // SAEs trained on a Hugging Face model name its modules.
    if metadata.str_or("model_class_name", keys.str_or("model_class_name", "")?)? == "AutoModelForCausalLM" {
        let module = metadata.str_or("hook_name", keys.str_or("hook_name", "")?)?;
        let hook = HookPoint::from_module(module);
        let hook = hook.ok_or_else(|| metadata.refuse("hook_name", "names no module whose output is a hook"))?;
        return Ok((hook, Some(module.to_owned())));
    }
    let name = metadata.str_or("hook_name", keys.str_or("hook_name", keys.str_or("hook_point", "")?)?)?;
    if name.is_empty() {
        return Err(keys.refuse("hook_name", "missing; expected a name such as blocks.8.hook_resid_post"));
    }
    let hook = name.parse().map_err(|e: Error| keys.refuse("hook_name", &e.to_string()))?;
    Ok((hook, None))
}

/// How its input is normalised, and whether its weights are for scaled activations with a factor kept elsewhere.
fn normalize(keys: Keys) -> Result<(Normalize, bool)> {
    match keys.get("normalize_activations") {
        None | Some(Value::Bool(false)) => Ok((Normalize::None, false)),
        Some(Value::Bool(true)) => Ok((Normalize::None, true)),
        Some(Value::String(name)) => match name.as_str() {
            "none" => Ok((Normalize::None, false)),
            "expected_average_only_in" => Ok((Normalize::None, true)),
            "layer_norm" => Ok((Normalize::LayerNorm, false)),
            "constant_norm_rescale" => Ok((Normalize::ConstantNormRescale, false)),
            _ => Err(keys.refuse(
                "normalize_activations",
                "expected none, layer_norm, constant_norm_rescale or expected_average_only_in",
            )),
        },
        Some(_) => Err(keys.refuse("normalize_activations", "expected a name")),
    }
}

/// A config that says of itself what this SAE is known by: its folder's place among the releases, or what a user said, do not go with a
/// copy. None where it says all that there is.
pub fn told(config: &Map<String, Value>, path: &Path, known: &SaeConfig) -> Result<Option<Map<String, Value>>> {
    let value = Value::Object(config.clone());
    let keys = Keys { value: &value, path };
    let metadata = Keys { value: value.get("metadata").unwrap_or(&Value::Null), path };
    let mut out = config.clone();
    if hook(keys, metadata).is_err() {
        say(&mut out, "hook_name", &known.hook.to_string());
    }
    if space(keys, metadata) != known.space {
        say(&mut out, "sae_lens_training_version", PROCESSED_VERSION);
    }
    let (normalize, scaled) = normalize(keys)?;
    if normalize != known.normalize || (scaled && known.folded.is_some()) {
        out.insert("normalize_activations".into(), known.normalize.name().into());
    }
    Ok((out != *config).then_some(out))
}

/// Say how an SAE was trained: version 6 has an object for that.
fn say(config: &mut Map<String, Value>, key: &str, value: &str) {
    match config.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata.insert(key.into(), value.into()),
        _ => config.insert(key.into(), value.into()),
    };
}

/// The SAEs of arXiv 2507.15977, which were trained on the processed model whatever their config says.
fn of_the_paper(place: &Place) -> bool {
    ["sae-compression-gpt-2", "sae-compression-gemma-2"].iter().any(|release| place.find(release).is_some())
}

/// Which activations it was trained on by its config: before 3.19.2 the default-processed model, then the untouched one, each as
/// `model_from_pretrained_kwargs` changes it.
fn space(keys: Keys, metadata: Keys) -> Space {
    let pick = |key: &str| metadata.get(key).or_else(|| keys.get(key));
    let version = pick("sae_lens_training_version").or_else(|| pick("sae_lens_version")).and_then(Value::as_str);
    let number =
        |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(0);
    let version: Option<Vec<u32>> = version.map(|v| v.split('.').take(3).map(number).collect());
    let center =
        pick("model_from_pretrained_kwargs").and_then(|k| k.get("center_writing_weights")).and_then(Value::as_bool);
    match version {
        Some(v) if v[..] >= [3, 19, 2][..] => {
            if center == Some(true) {
                Space::Centered
            } else {
                Space::Raw
            }
        }
        _ => Space::Tl,
    }
}

/// `scaling_factor`, and in versions 4 and 5 `finetuning_scaling_factor`: all ones is as good as absent; anything else needs the config's word for it.
fn decode_scale(keys: Keys, weights: &Weights, d_sae: usize) -> Result<Option<Vec<f32>>> {
    let names = ["finetuning_scaling_factor", "scaling_factor"];
    let mut found = names.into_iter().filter(|name| weights.shape(name).is_some());
    let Some(name) = found.next() else { return Ok(None) };
    if let Some(other) = found.next() {
        return Err(Error::file(
            weights.path(),
            format!("tensors {name:?} and {other:?} are the same thing; keep one"),
        ));
    }
    let scale = weights.f32(name, &[d_sae])?;
    if scale.iter().all(|s| (s - 1.0).abs() <= 1e-5) {
        return Ok(None);
    }
    if !keys.bool_or("finetuning_scaling_factor", false)? {
        return Err(keys
            .refuse("finetuning_scaling_factor", &format!("the file holds tensor {name}, but this key is not true")));
    }
    if scale.contains(&0.0) {
        return Err(Error::file(weights.path(), "its scaling factors hold zeros"));
    }
    Ok(Some(scale))
}
