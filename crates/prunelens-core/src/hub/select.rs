//! Which files of a repository are needed: one model or one SAE out of hundreds of files.

use std::collections::BTreeSet;

use super::{HubId, id::is_inside};
use crate::{
    sae::formats::{FOLDERS, Folder},
    text::shorten,
};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model with its tokenizer.
    Model,
    /// A pruned copy, read with the tokenizer of its original.
    PrunedModel,
    /// A sparse autoencoder.
    Sae,
}

/// What to fetch, and where in the repository the reader is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Weights last: where they are, the small files beside them are, too.
    pub files: Vec<String>,
    /// Names the weights' files, which follow.
    pub index: Option<String>,
    pub target: String,
}

const INDEX: &str = "model.safetensors.index.json";

/// `has` says whether the repository, or the cache, has a file of this name.
pub fn select(kind: Kind, inside: &str, has: &dyn Fn(&str) -> bool) -> Option<Selection> {
    match kind {
        Kind::Sae => sae(inside, has),
        Kind::Model | Kind::PrunedModel => model(kind, inside, has),
    }
}

fn sae(inside: &str, has: &dyn Fn(&str) -> bool) -> Option<Selection> {
    if !inside.is_empty() && has(inside) {
        // A file of a folder stands for the folder; other files are SAEs by themselves.
        for folder in &FOLDERS {
            if let Some(found) = folder.containing(inside).and_then(|folder| sae(folder, has)) {
                return Some(found);
            }
        }
        let config = inside.rsplit_once('.').map(|(stem, _)| format!("{stem}_cfg.json")).filter(|name| has(name));
        let files = config.into_iter().chain([inside.to_owned()]).collect();
        return Some(Selection { files, index: None, target: inside.to_owned() });
    }
    let folder = Folder::of(|name| has(&join(inside, name)))?;
    let mut files: Vec<String> =
        folder.optional.iter().map(|name| join(inside, name)).filter(|name| has(name)).collect();
    if !inside.is_empty() {
        files.extend(folder.repository.iter().filter(|name| has(name)).map(|name| (*name).to_owned()));
    }
    files.extend(folder.needs.iter().map(|name| join(inside, name)));
    Some(Selection { files, index: None, target: inside.to_owned() })
}

fn model(kind: Kind, inside: &str, has: &dyn Fn(&str) -> bool) -> Option<Selection> {
    let tokenizer = |folder: &str| {
        let names = if kind == Kind::Model { &["tokenizer.json", "tokenizer_config.json"][..] } else { &[] };
        names.iter().map(|name| join(folder, name)).filter(|name| has(name)).collect::<Vec<_>>()
    };
    if !inside.is_empty() && has(inside) {
        let (folder, name) = inside.rsplit_once('/').unwrap_or(("", inside));
        if matches!(name, "config.json" | "model.safetensors" | INDEX)
            && let Some(found) = model(kind, folder, has)
        {
            return Some(found);
        }
        let mut files = tokenizer(folder);
        files.push(inside.to_owned());
        return Some(Selection { files, index: None, target: inside.to_owned() });
    }
    let (config, whole, index) = (join(inside, "config.json"), join(inside, "model.safetensors"), join(inside, INDEX));
    let mut files = tokenizer(inside);
    if !has(&config) || (kind == Kind::Model && !has(&join(inside, "tokenizer.json"))) {
        return None;
    }
    files.insert(0, config);
    let target = inside.to_owned();
    if has(&whole) {
        files.push(whole);
        Some(Selection { files, index: None, target })
    } else if has(&index) {
        files.push(index.clone());
        Some(Selection { files, index: Some(index), target })
    } else {
        None
    }
}

/// The files that an index names, each once. `None` where it is none, or names what lies elsewhere.
pub fn shards(index: &str, bytes: &[u8]) -> Option<Vec<String>> {
    let folder = index.rsplit_once('/').map_or("", |(folder, _)| folder);
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let names: Option<BTreeSet<&str>> = json.get("weight_map")?.as_object()?.values().map(|v| v.as_str()).collect();
    let names = names?;
    let plain = |name: &&str| is_inside(name) && !name.contains('/') && !name.starts_with('.');
    (!names.is_empty() && names.iter().all(plain)).then(|| names.iter().map(|name| join(folder, name)).collect())
}

/// Why nothing could be selected, from all names in the repository.
pub fn explain(kind: Kind, id: &HubId, names: &[String]) -> String {
    let under: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| id.inside.is_empty() || folder_of(name, &id.inside).is_some())
        .collect();
    if under.is_empty() {
        let top: BTreeSet<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
        return format!("there is no such file or folder in this repository; it has {}", listed(&top));
    }
    let places: BTreeSet<&str> = under.iter().filter_map(|name| place(kind, name)).collect();
    match (places.first(), kind) {
        (Some(first), Kind::Sae) => {
            let example = shorten(&id.at(first).to_string(), 200);
            format!("it holds {} SAEs; name the one to take, such as {example}: {}", places.len(), listed(&places))
        }
        (Some(first), _) => {
            format!("name the file to take, such as {}: {}", shorten(&id.at(first).to_string(), 200), listed(&places))
        }
        (None, Kind::Sae) => {
            let found: BTreeSet<&str> = under.into_iter().collect();
            format!("there is no SAE of a format this version reads; it has {}", listed(&found))
        }
        (None, _) => {
            let all: BTreeSet<&str> = under.into_iter().collect();
            let torch = all.iter().any(|name| name.ends_with(".bin"));
            let why = if torch { "; weights in PyTorch's .bin files are not read" } else { "" };
            format!(
                "expected config.json, tokenizer.json and model.safetensors or its shards; it has {}{why}",
                listed(&all)
            )
        }
    }
}

/// What a user could name instead: the folder of an SAE, or a file.
fn place(kind: Kind, name: &str) -> Option<&str> {
    if kind != Kind::Sae {
        return (name.ends_with(".gguf") || name.ends_with(".pth")).then_some(name);
    }
    let weights = FOLDERS.iter().filter(|folder| folder.needs.last().is_some_and(|weights| name.ends_with(weights)));
    let folder = weights.filter_map(|folder| folder.containing(name)).find(|folder| !folder.is_empty());
    folder.or_else(|| name.ends_with(".pt").then_some(name))
}

fn folder_of<'a>(name: &'a str, folder: &str) -> Option<&'a str> {
    name.strip_prefix(folder)?.strip_prefix('/')
}

/// The first few, fit to show.
fn listed(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).map(|name| shorten(name, 80)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    if text.is_empty() { "no files".into() } else { text }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: Kind, inside: &str, names: &[&str]) -> Option<(Vec<String>, String)> {
        select(kind, inside, &|name| names.contains(&name)).map(|found| (found.files, found.target))
    }

    fn is(kind: Kind, inside: &str, names: &[&str], files: &[&str], target: &str) {
        let (found, at) = find(kind, inside, names).unwrap_or_else(|| panic!("{inside} in {names:?}"));
        assert_eq!((found.iter().map(String::as_str).collect::<Vec<_>>(), at.as_str()), (files.to_vec(), target));
    }

    #[test]
    fn every_layout_of_an_sae() {
        let one = |inside: &str, names: &[&str], files: &[&str]| is(Kind::Sae, inside, names, files, inside);
        let layers = ["a.pt/cfg.json", "a.pt/sae_weights.safetensors", "a.pt/sparsity.safetensors", "b.pt/cfg.json"];
        one("a.pt", &layers, &layers[..2]);
        one("l/w/x", &["l/w/x/params.npz", "l/w/y/params.npz"], &["l/w/x/params.npz"]);
        one("r/x", &["r/x/config.json", "r/x/params.safetensors"], &["r/x/config.json", "r/x/params.safetensors"]);
        one("t", &["t/ae.pt", "t/config.json", "t/eval_results.json"], &["t/config.json", "t/ae.pt"]);
        let sparsify = ["config.json", "layers.1/cfg.json", "layers.1/sae.safetensors", "layers.2/sae.safetensors"];
        one("layers.1", &sparsify, &sparsify[..3]);
        let scope = ["L/hyperparams.json", "L/lm_config.json", "L/checkpoints/final.safetensors"];
        one("L", &scope, &["L/lm_config.json", "L/hyperparams.json", "L/checkpoints/final.safetensors"]);
        one("R", &["R/config.json", "R/sae_weights.safetensors"], &["R/config.json", "R/sae_weights.safetensors"]);
        one("v9.pt", &["v9.pt", "v9_cfg.json", "v8.pt"], &["v9_cfg.json", "v9.pt"]);
        one("gpt2/1.pt", &["gpt2/1.pt", "gpt2/2.pt"], &["gpt2/1.pt"]);
        one("", &["cfg.json", "sae_weights.safetensors"], &["cfg.json", "sae_weights.safetensors"]);
    }

    #[test]
    fn a_member_stands_for_its_folder() {
        is(Kind::Sae, "t/ae.pt", &["t/ae.pt", "t/config.json"], &["t/config.json", "t/ae.pt"], "t");
        let scope = ["L/hyperparams.json", "L/checkpoints/final.safetensors"];
        is(Kind::Sae, scope[1], &scope, &scope, "L");
    }

    #[test]
    fn models_without_what_else_is_there() {
        let names = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "onnx/decoder_model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
            "x-q8.gguf",
            "y.pth",
        ];
        let whole = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
        is(Kind::Model, "", &names, &whole, "");
        is(Kind::PrunedModel, "", &names, &["config.json", "model.safetensors"], "");
        is(Kind::Model, "x-q8.gguf", &names, &["tokenizer.json", "tokenizer_config.json", "x-q8.gguf"], "x-q8.gguf");
        is(Kind::PrunedModel, "y.pth", &names, &["y.pth"], "y.pth");
        assert_eq!(find(Kind::Model, "", &["config.json", "tokenizer.json", "pytorch_model.bin"]), None);
    }

    #[test]
    fn indices_name_plain_files() {
        let index = |file: &str| {
            format!(r#"{{"weight_map": {{"a": "m-1.safetensors", "b": {file:?}, "c": "m-1.safetensors"}}}}"#)
        };
        let found = shards("sub/model.safetensors.index.json", index("m-2.safetensors").as_bytes());
        assert_eq!(found, Some(vec!["sub/m-1.safetensors".into(), "sub/m-2.safetensors".into()]));
        for bad in ["../x", "/etc/passwd", "a/b", ".hidden", ""] {
            assert_eq!(shards("i", index(bad).as_bytes()), None, "{bad}");
        }
        assert_eq!(shards("i", b"[]"), None);
    }

    #[test]
    fn what_could_be_named_is_named() {
        let explain = |kind, id: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            explain(kind, &HubId::parse(id).unwrap(), &names)
        };
        let scope = ["layer_0/w/params.npz", "layer_1/w/params.npz"];
        let text = explain(Kind::Sae, "google/gs", &scope);
        assert!(text.contains("2 SAEs") && text.contains("google/gs/layer_0/w"), "{text}");
        let text = explain(Kind::Sae, "google/gs/layer_9", &scope);
        assert!(text.contains("no such file or folder") && text.contains("layer_0, layer_1"), "{text}");
        let text = explain(Kind::Model, "o/n", &["a.gguf"]);
        assert!(text.contains("o/n/a.gguf"), "{text}");
        let text = explain(Kind::Model, "o/n", &["pytorch_model.bin", "evil\u{1b}[2J"]);
        assert!(text.contains("PyTorch") && !text.contains('\u{1b}'), "{text}");
    }
}
