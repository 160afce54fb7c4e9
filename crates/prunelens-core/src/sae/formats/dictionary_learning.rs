//! dictionary_learning (SAEBench's baselines and others): `ae.pt` and `config.json` with `trainer.dict_class`.

use std::path::Path;

use candle_core::D;
use serde_json::Value;

use super::{
    Folder, Given,
    parts::Parts,
    place::{Place, digits},
};
use crate::{
    error::Result,
    model::{
        HookPoint, Site,
        config::Keys,
        weights::{Weights, read_json},
    },
    sae::{Activation, Sae},
};

pub const FORMAT: Folder =
    Folder { name: "dictionary_learning", needs: &["ae.pt"], optional: &["config.json"], repository: &[], load };

fn load(dir: &Path, given: &Given) -> Result<Sae> {
    let config_path = dir.join("config.json");
    let json = read_json(&config_path)?;
    let trainer = Keys { value: json.get("trainer").unwrap_or(&Value::Null), path: &config_path };
    let class = trainer.str_or("dict_class", "")?;
    let weights = Weights::open(&dir.join("ae.pt"))?;
    let columns = matches!(class, "JumpReluAutoEncoder" | "MatryoshkaBatchTopKSAE");
    let parts =
        if columns { Parts::of_columns(&weights, "W_enc")? } else { Parts::of_rows(&weights, "encoder.weight")? };
    parts.check(trainer, &[("activation_dim", parts.d_in), ("dict_size", parts.d_sae)])?;
    // A threshold below zero was never set: every positive unit passes, as with zero.
    let one_threshold = || -> Result<_> {
        Ok(Activation::JumpRelu { threshold: vec![parts.scalar("threshold")?.max(0.0); parts.d_sae] })
    };
    let (architecture, bias, b_enc, b_dec, activation) = match class {
        "AutoEncoder" => ("standard", true, "encoder.bias", "bias", Activation::Relu),
        "AutoEncoderNew" => ("standard", false, "encoder.bias", "decoder.bias", Activation::Relu),
        "GatedAutoEncoder" => {
            let (r_mag, b_mag) = (parts.latents("r_mag")?, parts.latents("mag_bias")?);
            ("gated", true, "gate_bias", "decoder_bias", Activation::Gated { r_mag, b_mag })
        }
        "AutoEncoderTopK" => {
            let k = parts.k(trainer, "k")?;
            let activation = Activation::TopK { k, rescale_by_decoder_norm: false };
            ("topk", true, "encoder.bias", "b_dec", activation)
        }
        "BatchTopKSAE" => ("jumprelu", true, "encoder.bias", "b_dec", one_threshold()?),
        "MatryoshkaBatchTopKSAE" => ("jumprelu", true, "b_enc", "b_dec", one_threshold()?),
        "JumpReluAutoEncoder" => {
            let threshold = parts.latents("threshold")?;
            ("jumprelu", false, "b_enc", "b_dec", Activation::JumpRelu { threshold })
        }
        _ => {
            return Err(trainer.refuse(
                "dict_class",
                "expected AutoEncoder, AutoEncoderNew, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE, \
                 MatryoshkaBatchTopKSAE or JumpReluAutoEncoder",
            ));
        }
    };
    let (hook, module) = match hook(trainer) {
        Ok(found) => found,
        Err(e) => (given.hook.ok_or(e)?, None),
    };
    let mut config = parts.config(Place::of(dir).name(2), architecture, hook);
    config.apply_b_dec_to_input = bias;
    let (w_enc, w_dec) = if columns {
        (parts.columns("W_enc")?, parts.rows("W_dec")?)
    } else {
        (parts.rows("encoder.weight")?, parts.columns("decoder.weight")?)
    };
    let (b_enc, b_dec) = (parts.latents(b_enc)?, parts.inputs(b_dec)?);
    let norms: Vec<f32> = w_dec.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1()?;
    if class == "AutoEncoder" && norms.iter().any(|norm| (norm - 1.0).abs() > 1e-3) {
        config.warnings.push(
            "its decoder rows do not have norm 1: it is read as it is, as SAELens does; dictionary_learning's own loader brings \
             them to norm 1 and scales the latents in turn, with the same reconstructions"
                .into(),
        );
    }
    config.module = module;
    // Counters of training, and thresholds and groups that inference does not look at.
    parts.refuse_others(&["threshold", "k", "group", "active_groups", "max_groups"])?;
    config.source = json;
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None })
}

/// `submodule_name` says which activation; `layer` beside it is taken for the residual stream only where it is missing. It is
/// one of dictionary_learning's own names (`resid_post_layer_3`, `mlp_1`), or the path of a module.
fn hook(trainer: Keys) -> Result<(HookPoint, Option<String>)> {
    let name = trainer.str_or("submodule_name", "")?;
    if name.is_empty() {
        let layer = trainer.get("layer").and_then(Value::as_u64).and_then(|l| usize::try_from(l).ok());
        let layer = layer.ok_or_else(|| trainer.refuse("layer", "expected the number of a layer; or give --hook"))?;
        return Ok((HookPoint { layer, site: Site::ResidPost }, None));
    }
    if let Some(hook) = HookPoint::from_module(name) {
        return Ok((hook, Some(name.to_owned())));
    }
    let place = name.split_once("_layer_").or_else(|| name.rsplit_once('_'));
    let (site, module) = match place.map(|(site, _)| site) {
        Some("resid_post" | "resid") => (Some(Site::ResidPost), None),
        Some("resid_pre") => (Some(Site::ResidPre), None),
        // The library hooks the module itself: in Gemma a norm follows it.
        Some("mlp_out" | "mlp") => (Some(Site::MlpOut), Some("mlp")),
        Some("attn_out" | "attention_out" | "attn" | "attention") => (Some(Site::AttnOut), Some("self_attn")),
        _ => (None, None),
    };
    let layer = place.and_then(|(_, layer)| digits(layer).filter(|n| n.to_string() == layer));
    match (site, layer) {
        (Some(site), Some(layer)) => Ok((HookPoint { layer, site }, module.map(str::to_owned))),
        _ => {
            let why = format!("{:?} names no known hook; give --hook", crate::text::shorten(name, 60));
            Err(trainer.refuse("submodule_name", &why))
        }
    }
}
