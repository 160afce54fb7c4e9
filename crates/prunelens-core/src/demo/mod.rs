//! The embedded demo: a small language model, its SAEs and texts, compiled into the program. `demo/README.md` in the
//! repository tells how they were made.

pub mod sets;

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    model::{
        Model, Opened, Tokenizer,
        weights::{Weights, parse_json},
    },
    progress::Listener,
    sae::{
        Sae,
        formats::{FromConfig, Given, from_weights},
    },
};

const CONFIG: &[u8] = include_bytes!("../../demo/model/config.json");
/// `model.safetensors`.
pub const WEIGHTS: &[u8] = include_bytes!("../../demo/model/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../demo/model/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../../demo/model/tokenizer_config.json");
const CALIBRATION: &str = include_str!("../../demo/calibration.jsonl");
const HELD_OUT: &str = include_str!("../../demo/held_out.jsonl");

/// The model's small files.
pub const MODEL_FILES: [(&str, &[u8]); 3] =
    [("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("tokenizer_config.json", TOKENIZER_CONFIG)];

/// An SAE's two files.
#[derive(Debug)]
pub struct Files {
    /// That they are in.
    folder: &'static str,
    /// `cfg.json`.
    pub config: &'static [u8],
    /// `sae_weights.safetensors`.
    pub weights: &'static [u8],
}

macro_rules! files {
    ($folder:literal) => {
        Files {
            folder: $folder,
            config: include_bytes!(concat!("../../demo/", $folder, "/cfg.json")),
            weights: include_bytes!(concat!("../../demo/", $folder, "/sae_weights.safetensors")),
        }
    };
}

/// Layers with SAEs: the pretrained one, and the one trained on the pruned model.
static SAES: [(usize, Files, Files); 2] =
    [(1, files!("sae"), files!("trained_sae")), (2, files!("sae_layer2"), files!("trained_sae_layer2"))];

/// Prompts worth trying on the demo.
pub const EXAMPLES: [&str; 3] = [
    "The army and the navy of the United States are",
    "She had been in love with him for a year, and he",
    "Congress should reduce the taxes on the people of",
];

/// Name of the demo's files in messages.
fn name(file: &str) -> std::path::PathBuf {
    Path::new("(demo)").join(file)
}

/// The demo's model.
pub fn model(device: &Device, dtype: DType, progress: Listener) -> Result<Model> {
    let path = name("config.json");
    let json = parse_json(&path, CONFIG)?;
    let weights = Weights::from_static("(demo)/model.safetensors", WEIGHTS)?;
    Model::build(Opened::new("demo".into(), &path, json, weights)?, device, dtype, progress)
}

/// The demo's tokenizer.
pub fn tokenizer(model: &Model) -> Result<Tokenizer> {
    let settings = parse_json(&name("tokenizer_config.json"), TOKENIZER_CONFIG)?;
    Tokenizer::from_bytes(&name("tokenizer.json"), TOKENIZER, &settings, &model.config)
}

/// Text for calibration, also of other models: speeches and novels of the public domain.
pub fn calibration() -> Result<Vec<String>> {
    texts("calibration.jsonl", CALIBRATION)
}

/// Text that neither the demo's model nor its SAEs were trained on.
pub fn held_out() -> Result<Vec<String>> {
    texts("held_out.jsonl", HELD_OUT)
}

fn texts(file: &str, lines: &str) -> Result<Vec<String>> {
    let text = |line: &str| {
        let json: Value = parse_json(&name(file), line.as_bytes())?;
        Ok(json["text"].as_str().unwrap_or_default().to_owned())
    };
    lines.lines().map(text).collect()
}

/// Layers of which there are SAEs, ascending.
pub fn layers() -> impl Iterator<Item = usize> {
    SAES.iter().map(|(layer, ..)| *layer)
}

/// The pretrained SAE of a layer of the demo's model, of the first that has one where none is named.
pub fn sae(layer: Option<usize>) -> Result<Sae> {
    sae_files(layer)?.read()
}

/// The files of that SAE.
pub fn sae_files(layer: Option<usize>) -> Result<&'static Files> {
    let (_, sae, _) = saes(layer)?;
    Ok(sae)
}

/// The SAE of a layer trained on the demo's pruned model.
pub fn trained_sae(layer: Option<usize>) -> Result<Sae> {
    let (.., trained) = saes(layer)?;
    trained.read()
}

fn saes(layer: Option<usize>) -> Result<&'static (usize, Files, Files)> {
    let found = SAES.iter().find(|(number, ..)| layer.is_none_or(|layer| layer == *number));
    let all = || layers().map(|layer| layer.to_string()).collect::<Vec<_>>().join(", ");
    let none =
        || Error::invalid(format!("the demo has no SAE of layer {}, but of {}", layer.unwrap_or_default(), all()));
    found.ok_or_else(none)
}

impl Files {
    fn read(&self) -> Result<Sae> {
        let folder = name(self.folder);
        let path = folder.join("cfg.json");
        let json = parse_json(&path, self.config)?;
        let weights = Weights::from_static(&folder.join("sae_weights.safetensors").to_string_lossy(), self.weights)?;
        let name = format!("demo {}", self.folder);
        from_weights(FromConfig { name, path: &path, json, folder: &folder, given: Given::default() }, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saes_read_where_they_say() {
        for layer in layers() {
            for sae in [sae(Some(layer)), trained_sae(Some(layer))] {
                assert_eq!(sae.unwrap().config.hook.layer, layer);
            }
        }
        assert_eq!(sae(None).unwrap().config.hook.layer, 1);
        let refused = sae(Some(7)).unwrap_err().to_string();
        assert!(refused.contains("no SAE of layer 7, but of 1, 2"), "{refused}");
    }
}
