//! The embedded demo: a small language model, its SAEs and texts, compiled into the program. `demo/README.md` in the
//! repository tells how they were made.

pub mod sets;

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::Value;

use crate::{
    error::Result,
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
/// `cfg.json` of the demo's SAE.
pub const SAE_CONFIG: &[u8] = include_bytes!("../../demo/sae/cfg.json");
/// Weights of the demo's SAE.
pub const SAE_WEIGHTS: &[u8] = include_bytes!("../../demo/sae/sae_weights.safetensors");
const TRAINED_SAE_CONFIG: &[u8] = include_bytes!("../../demo/trained_sae/cfg.json");
const TRAINED_SAE_WEIGHTS: &[u8] = include_bytes!("../../demo/trained_sae/sae_weights.safetensors");

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

/// The pretrained SAE of the demo's model.
pub fn sae() -> Result<Sae> {
    read_sae("sae", SAE_CONFIG, SAE_WEIGHTS)
}

/// The SAE trained on the demo's pruned model.
pub fn trained_sae() -> Result<Sae> {
    read_sae("trained_sae", TRAINED_SAE_CONFIG, TRAINED_SAE_WEIGHTS)
}

fn read_sae(folder: &str, config: &[u8], weights: &'static [u8]) -> Result<Sae> {
    let folder = name(folder);
    let path = folder.join("cfg.json");
    let json = parse_json(&path, config)?;
    let weights = Weights::from_static(&folder.join("sae_weights.safetensors").to_string_lossy(), weights)?;
    let name = folder.file_name().map_or_else(String::new, |n| format!("demo {}", n.to_string_lossy()));
    from_weights(FromConfig { name, path: &path, json, folder: &folder, given: Given::default() }, &weights)
}
