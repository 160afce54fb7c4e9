//! The readers of files that come from strangers, each fed with bytes. Shared by the fuzz targets and the tests, which run
//! what the targets found.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use candle_core::{DType, Device};
use prunelens::{
    settings::Settings,
    tui::theme::{ColorDepth, Theme},
};
use prunelens_core::{
    data::{read_records, read_tokens, rows::check_rows},
    model::{
        Model, Tokenizer,
        weights::{Bytes, Weights},
    },
    sae::formats,
};
use serde_json::Value;

use super::bounded;

/// A folder in memory, one a process.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let base = Path::new("/dev/shm");
        let folder = if base.is_dir() { tempfile::tempdir_in(base) } else { tempfile::tempdir() };
        folder.expect("a folder for files").keep()
    })
}

fn put(name: &str, data: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, data).expect("a file");
    path
}

/// Sound files to spoil, from this folder or the one above it.
fn fixtures() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [here.join("tests/fixtures/parity"), here.join("../tests/fixtures/parity")];
    places.into_iter().find(|place| place.exists()).expect("fixtures")
}

/// A file of the fixtures, put into the folder once.
fn copy(from: &str, name: &str) {
    if !folder().join(name).exists() {
        put(name, &fs::read(fixtures().join(from)).unwrap_or_else(|e| panic!("{from}: {e}")));
    }
}

fn load(path: &Path) {
    if let Ok(model) = Model::load(path, &Device::Cpu, DType::F32, &mut |_| Ok(())) {
        let _ = Tokenizer::load(path, &model.config);
    }
}

/// Tensors of any container: safetensors, npz, pickle, GGUF.
pub fn weights(data: &[u8]) {
    bounded(data.len(), || {
        let Ok(weights) = Weights::from_bytes(Path::new("file"), Bytes::Memory(data.to_vec())) else { return };
        for name in weights.names().map(str::to_owned).collect::<Vec<_>>() {
            let shape = weights.shape(&name).unwrap_or_default().to_vec();
            let _ = weights.f32(&name, &shape);
            let _ = weights.integers(&name);
        }
    });
}

/// A whole model with its tokenizer from GGUF.
pub fn gguf(data: &[u8]) {
    weights(data);
    let path = put("model.gguf", data);
    bounded(data.len(), || load(&path));
}

/// A pruned model as TransformerLens saves it.
pub fn state_dict(data: &[u8]) {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        Model::load(&fixtures().join("models/gpt2"), &Device::Cpu, DType::F32, &mut |_| Ok(())).expect("a model")
    });
    let path = put("model.pth", data);
    bounded(data.len(), || drop(model.with_state_dict(&path, &mut |_| Ok(()))));
}

/// `config.json` of each family in turn, over sound weights.
pub fn model_config(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let family = ["gpt2", "neox", "llama", "gemma2", "gemma3"][*first as usize % 5];
    copy(&format!("models/{family}/model.safetensors"), &format!("{family}/model.safetensors"));
    let path = put(&format!("{family}/config.json"), data);
    bounded(data.len() + (1 << 20), || load(path.parent().expect("a folder")));
}

/// The tiny folders of each scheme of quantised weights.
const SCHEMES: [&str; 6] = ["gptq", "awq", "ct", "fp8", "bnb", "mlx"];

/// A folder of a scheme with one of its two files spoilt; the first byte says which scheme.
fn quantised(data: &[u8], spoilt: &str, sound: &str) {
    let Some((first, data)) = data.split_first() else { return };
    let scheme = SCHEMES[*first as usize % SCHEMES.len()];
    let place = format!("quantised-{spoilt}/{scheme}");
    copy(&format!("../compressed/rejects/sound-{scheme}/{sound}"), &format!("{place}/{sound}"));
    let path = put(&format!("{place}/{spoilt}"), data);
    // Two bits become four bytes.
    bounded(16 * data.len() + (1 << 20), || load(path.parent().expect("a folder")));
}

/// The config of each scheme of quantised weights in turn, over sound tensors.
pub fn quantised_config(data: &[u8]) {
    quantised(data, "config.json", "model.safetensors");
}

/// Their tensors, under a sound config.
pub fn quantised_tensors(data: &[u8]) {
    quantised(data, "model.safetensors", "config.json");
}

/// The index of shards.
pub fn index_json(data: &[u8]) {
    copy("models/llama/model.safetensors", "index/model-00001-of-00001.safetensors");
    copy("models/llama/config.json", "index/config.json");
    let path = put("index/model.safetensors.index.json", data);
    bounded(data.len() + (1 << 20), || load(path.parent().expect("a folder")));
}

/// The config of each layout of SAEs that has one, over the sound weights of every fixture in turn.
pub fn sae_config(data: &[u8]) {
    static FOLDERS: OnceLock<Vec<(PathBuf, &str, &str)>> = OnceLock::new();
    let folders = FOLDERS.get_or_init(|| {
        let all = below(&fixtures().join("saes"));
        let mut folders = Vec::new();
        for format in &formats::FOLDERS {
            let config = format.needs.iter().chain(format.optional).find(|name| name.ends_with(".json"));
            let (Some(config), Some(weights)) = (config, format.needs.last()) else { continue };
            let has = |folder: &Path, name: &str| folder.join(name).exists();
            let is = |folder: &&PathBuf| {
                formats::Folder::of(|name| has(folder, name)).is_some_and(|found| found.name == format.name)
            };
            let before = folders.len();
            folders.extend(all.iter().filter(is).map(|folder| (folder.clone(), *config, *weights)));
            assert!(folders.len() > before, "no fixture of {}", format.name);
        }
        folders
    });
    let Some((first, data)) = data.split_first() else { return };
    let (from, config, weights) = &folders[*first as usize % folders.len()];
    let name = from.strip_prefix(fixtures()).expect("a fixture").to_string_lossy();
    copy(&format!("{name}/{weights}"), &format!("{name}/{weights}"));
    let path = put(&format!("{name}/{config}"), data);
    bounded(data.len() + (1 << 20), || drop(formats::load(path.parent().expect("a folder"))));
}

/// All folders under one, in order.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut inside: Vec<PathBuf> = fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    inside.sort();
    inside
        .into_iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| [vec![path.clone()], below(&path)].concat())
        .collect()
}

/// A session file.
pub fn session(data: &[u8]) {
    let mut flags = Settings::default();
    flags.session.model.session = Some(put("session.toml", data));
    bounded(data.len(), || drop(flags.resolve(&|_| None)));
}

/// A theme file.
pub fn theme(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(data.len(), || drop(Theme::parse(text, "theme.toml", ColorDepth::Truecolor, false)));
}

/// `tokenizer.json`, and a text through it.
pub fn tokenizer(data: &[u8]) {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        Model::load(&fixtures().join("models/gpt2"), &Device::Cpu, DType::F32, &mut |_| Ok(())).expect("a model")
    });
    bounded(data.len(), || {
        let read = Tokenizer::from_bytes(Path::new("tokenizer.json"), data, &Value::Null, &model.config);
        let Ok(tokenizer) = read else { return };
        for id in tokenizer.encode("The army's 2 cafés \u{1f642}\n", true).unwrap_or_default() {
            tokenizer.piece(id);
        }
    });
}

/// Token rows for calibration and metrics.
pub fn token_rows(data: &[u8]) {
    let path = put("rows.safetensors", data);
    bounded(data.len(), || {
        for batch in read_tokens(&path).unwrap_or_default() {
            let _ = check_rows(&batch.rows, 512);
        }
    });
}

/// A table of texts and labels; the first byte says of which kind.
pub fn table(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let kind = ["csv", "jsonl", "csv.zst", "jsonl.zst", "parquet"][*first as usize % 5];
    let path = put(&format!("table.{kind}"), data);
    let read = || drop(read_records(&path, &["text", "label"]));
    match kind {
        // A row takes more than its two bytes.
        "csv" | "jsonl" => bounded(200 * data.len(), read),
        // What they unpack to has a bound of its own.
        _ => read(),
    }
}
