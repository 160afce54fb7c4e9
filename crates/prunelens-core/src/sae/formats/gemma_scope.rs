//! Gemma Scope (`google/gemma-scope-{2b,9b,27b}-{pt,it}-{res,mlp,att}`): `params.npz` and no config. The hook is in the
//! repository's name and the folders'.

use std::path::Path;

use super::{File, Folder, Given, has, parts::Parts, place::Place};
use crate::{
    error::{Error, Result},
    model::{HookPoint, Site, weights::Weights},
    sae::{Activation, Sae},
};

pub const FORMAT: Folder = Folder {
    name: "Gemma Scope",
    needs: &["params.npz"],
    optional: &[],
    repository: &[],
    load: |dir, given| load(&dir.join("params.npz"), given),
};

/// The same file by itself.
pub const FILE: File = File {
    name: "Gemma Scope",
    example: "NAME.npz",
    is: |path, weights| has(weights, &["threshold", "b_enc", "b_dec"]) && path.extension().is_some_and(|e| e == "npz"),
    load: |path, _, given| load(path, given),
};

fn load(path: &Path, given: &Given) -> Result<Sae> {
    let weights = Weights::open(path)?;
    // Some early files spell the matrices in lower case.
    let name = |upper: &'static str, lower: &'static str| if weights.shape(upper).is_some() { upper } else { lower };
    let (enc, dec) = (name("W_enc", "w_enc"), name("W_dec", "w_dec"));
    let parts = Parts::of_columns(&weights, enc)?;
    let place = Place::of(path.parent().unwrap_or(path));
    if place.find("gemma-scope-").is_some_and(|repository| repository.contains("transcoders")) {
        return Err(Error::file(path, "a transcoder reads one hook and writes another: it is not an autoencoder"));
    }
    let embedding = place.find_map(|name| (name == "embedding").then_some(())).is_some();
    let hook = hook(&place, embedding).or(given.hook).ok_or_else(|| {
        Error::file(
            path,
            "a Gemma Scope file says its hook only by where it is: keep the folders \
             gemma-scope-...-res|mlp|att/layer_L/... around it, or give --hook",
        )
    })?;
    let mut config = parts.config(place.name(3), "jumprelu", hook);
    config.apply_b_dec_to_input = false;
    let (mut w_enc, mut w_dec) = (parts.columns(enc)?, parts.rows(dec)?);
    if embedding {
        // Trained before the embedding is scaled; hooks see it after.
        let scale = (parts.d_in as f64).sqrt();
        (w_enc, w_dec) = ((w_enc / scale)?, (w_dec * scale)?);
    }
    let (b_enc, b_dec) = (parts.latents("b_enc")?, parts.inputs("b_dec")?);
    let activation = Activation::JumpRelu { threshold: parts.latents("threshold")? };
    parts.refuse_others(&[])?;
    Ok(Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None })
}

fn hook(place: &Place, embedding: bool) -> Option<HookPoint> {
    let repository = place.find("gemma-scope-")?;
    let kind = repository.split_once("gemma-scope-")?.1;
    if embedding && kind.contains("res") {
        return Some(HookPoint { layer: 0, site: Site::ResidPre });
    }
    let sites = [("res", Site::ResidPost), ("mlp", Site::MlpOut), ("att", Site::Z)];
    let site = sites.iter().find(|(name, _)| kind.contains(name))?.1;
    Some(HookPoint { layer: place.layer()?, site })
}
