//! OpenAI's GPT-2 SAEs: `{location}[_v5_32k]/autoencoders/{layer}.pt`, a pickle of tensors and plain values.

use std::path::Path;

use serde_json::Value;

use super::{
    File, Given, has,
    parts::Parts,
    place::{Place, digits},
};
use crate::{
    error::{Error, Result},
    model::{HookPoint, Site, config::Keys, weights::Weights},
    sae::{Activation, Normalize, Sae},
};

pub const FORMAT: File = File {
    name: "OpenAI",
    example: "LOCATION/autoencoders/LAYER.pt",
    is: |_, weights| has(weights, &["pre_bias", "latent_bias", "encoder.weight", "decoder.weight"]),
    load,
};

fn load(path: &Path, weights: &Weights, given: &Given) -> Result<Sae> {
    let parts = Parts::of_rows(weights, "encoder.weight")?;
    let extras = Value::Object(weights.extras.clone());
    let keys = Keys { value: &extras, path };
    let place = Place::of(path);
    let layer = path.file_stem().and_then(|stem| digits(&stem.to_string_lossy()));
    let site = place.find_map(location);
    let hook = match (site, layer, given.hook) {
        (Some(site), Some(layer), _) => HookPoint { layer, site },
        (.., Some(hook)) => hook,
        _ => {
            return Err(Error::file(
                path,
                "an OpenAI SAE says its hook only by where it is: keep LOCATION/autoencoders/LAYER.pt \
                 (LOCATION such as resid_post_mlp), or give --hook",
            ));
        }
    };
    let (architecture, normalize, activation) = match keys.str_or("activation", "ReLU")? {
        "ReLU" => ("standard", Normalize::None, Activation::Relu),
        "TopK" => {
            let state = keys.get("activation_state_dict").unwrap_or(&Value::Null);
            let keys = Keys { value: state, path };
            if !matches!(keys.str_or("postact_fn", "ReLU")?, "ReLU") {
                return Err(keys.refuse("postact_fn", "expected ReLU"));
            }
            let k = parts.k(keys, "k")?;
            ("topk", Normalize::LayerNorm, Activation::TopK { k, rescale_by_decoder_norm: false })
        }
        _ => return Err(keys.refuse("activation", "expected ReLU or TopK")),
    };
    let mut config = parts.config(place.name(3), architecture, hook);
    config.normalize = normalize;
    config.prepend_bos = false;
    config.source = extras.clone();
    let (w_enc, b_enc) = (parts.rows("encoder.weight")?, parts.latents("latent_bias")?);
    let (w_dec, b_dec) = (parts.columns("decoder.weight")?, parts.inputs("pre_bias")?);
    // Statistics of training.
    parts.refuse_others(&["stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"])?;
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None })
}

fn location(name: &str) -> Option<Site> {
    [
        ("resid_post_mlp", Site::ResidPost),
        ("resid_delta_mlp", Site::MlpOut),
        ("resid_post_attn", Site::ResidMid),
        ("resid_delta_attn", Site::AttnOut),
    ]
    .iter()
    .find(|(location, _)| name.starts_with(location))
    .map(|(_, site)| *site)
}
