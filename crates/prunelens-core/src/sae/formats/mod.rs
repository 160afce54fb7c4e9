//! Published layouts of SAE files. Which one a folder or file is, its contents say.

mod dictionary_learning;
mod gemma_scope;
mod gemma_scope_2;
mod kissane;
mod llama_scope;
mod openai;
mod parts;
mod place;
mod saelens;
mod save;
mod sparsify;

use std::path::Path;

pub use place::Place;
pub use saelens::{FromConfig, from_weights};
pub use save::save;

use prunelens_kernels::with_f32;

use super::Sae;
use crate::{
    error::{Error, Result},
    model::{HookPoint, weights::Weights},
};

/// What a user says about an SAE where its files do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    pub hook: Option<HookPoint>,
    /// Average-norm factor of files that need one from outside (`expected_average_only_in`).
    pub norm_scaling_factor: Option<f64>,
}

/// Read an SAE from its folder, or from its file where the format is a single one.
pub fn load(path: &Path) -> Result<Sae> {
    load_given(path, &Given::default())
}

/// The same, with what the files leave open.
pub fn load_given(path: &Path, given: &Given) -> Result<Sae> {
    if !path.exists() {
        return Err(Error::file(path, "no such file or folder; give the folder of one SAE, or its file"));
    }
    let sae = if path.is_dir() { folder(path, given) } else { file(path, given) }?;
    check_decoder(path, &sae)?;
    Ok(sae)
}

fn folder(dir: &Path, given: &Given) -> Result<Sae> {
    let has = |name: &str| dir.join(name).exists();
    if has("cfg.json") && has("sae_weights.safetensors") {
        return saelens::load(dir, given);
    }
    if has("cfg.json") && has("sae.safetensors") {
        return sparsify::load(dir);
    }
    if has("hyperparams.json") && has("checkpoints") {
        return llama_scope::load(dir, given);
    }
    if has("config.json") && has("sae_weights.safetensors") {
        return llama_scope::load_r1(dir, given);
    }
    if has("params.safetensors") {
        return gemma_scope_2::load(dir, given);
    }
    if has("params.npz") {
        return gemma_scope::load(&dir.join("params.npz"), given);
    }
    if has("ae.pt") {
        return dictionary_learning::load(dir, given);
    }
    if has("cfg.json") {
        let what =
            "cfg.json is there, but neither sae_weights.safetensors (SAELens) nor sae.safetensors (sparsify) beside it";
        return Err(Error::file(dir, what));
    }
    let mut found: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| crate::text::shorten(&e.file_name().to_string_lossy(), 40)).collect())
        .unwrap_or_default();
    found.sort();
    found.truncate(6);
    Err(Error::file(
        dir,
        format!(
            "not the folder of an SAE: found {found:?}; known are the layouts of SAELens (cfg.json), sparsify, \
             dictionary_learning (ae.pt), Gemma Scope (params.npz, params.safetensors) and Llama Scope (hyperparams.json), \
             and the .pt files of OpenAI and of hook_z SAEs"
        ),
    ))
}

fn file(path: &Path, given: &Given) -> Result<Sae> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dir = path.parent().unwrap_or(Path::new(""));
    match &*name {
        "ae.pt" => return dictionary_learning::load(dir, given),
        "cfg.json" | "config.json" | "hyperparams.json" | "sae.safetensors" | "sae_weights.safetensors" => {
            return folder(if dir == Path::new("") { Path::new(".") } else { dir }, given);
        }
        _ => {}
    }
    let weights = Weights::open(path)?;
    let has = |names: &[&str]| names.iter().all(|name| weights.shape(name).is_some());
    if has(&["pre_bias", "latent_bias", "encoder.weight", "decoder.weight"]) {
        return openai::load(path, &weights, given);
    }
    if has(&["threshold", "b_enc", "b_dec"]) && name.ends_with(".npz") {
        return gemma_scope::load(path, given);
    }
    if has(&["W_enc", "W_dec", "b_enc", "b_dec"]) && kissane::config_of(path).exists() {
        return kissane::load(path, &weights);
    }
    let some: Vec<_> = weights.names().take(6).map(|n| crate::text::shorten(n, 40)).collect();
    Err(Error::file(path, format!("not a known SAE file: its tensors are {some:?}")))
}

/// Decoder rows of zeros are pruned ones; what is not finite was refused when read. Nothing at all in a matrix is a
/// damaged file.
fn check_decoder(path: &Path, sae: &Sae) -> Result<()> {
    let empty = with_f32(&sae.w_dec, |w| w.iter().all(|v| *v == 0.0))?;
    if empty { Err(Error::file(path, "its decoder holds nothing but zeros")) } else { Ok(()) }
}
