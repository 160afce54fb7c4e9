//! Models and SAEs by hub id, from a small hub on the loopback.

mod faults;
mod program;
mod secrets;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    error::Result,
    hub::{self, HubId, HubSettings, Kind},
    progress::Progress,
    session::{SessionSpec, Source, silent},
};
use server::{Asked, COMMIT, Repo, Server, etag};
use tempfile::TempDir;

use crate::support::{GPT2, SAE, demo_spec, fixture};

pub const MODEL: &str = "openai-community/gpt2";
pub const SAES: &str = "jbloom/OAI-v5-32k-resid-post-SAEs";

/// A hub with a model, SAEs, and a cache.
pub struct Place {
    pub server: Server,
    pub home: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let server = Server::start();
        let model = Repo::of(&[(&fixture(GPT2), "")]).with("pytorch_model.bin", "x").with("onnx/model.onnx", "y");
        server.put(MODEL, model);
        let sae = fixture(SAE);
        server.put(SAES, Repo::of(&[(&sae, "v5_32k_layer_1.pt"), (&sae, "v5_32k_layer_2.pt")]));
        Self { server, home: tempfile::tempdir().unwrap() }
    }

    pub fn settings(&self, more: &[(&str, &str)]) -> HubSettings {
        let (home, endpoint) = (self.home.path().to_str().unwrap(), self.server.endpoint());
        let own = [("HF_HOME", home), ("HF_ENDPOINT", &endpoint)];
        let find = |name: &str| more.iter().chain(&own).find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        HubSettings::new(false, &find).unwrap()
    }

    pub fn fetch(&self, id: &str, kind: Kind) -> Result<PathBuf> {
        hub::fetch(&self.settings(&[]), &HubId::parse(id).unwrap(), kind, &mut |_| Ok(()))
    }

    /// The message of what cannot be had.
    #[track_caller]
    pub fn refused(&self, id: &str, kind: Kind, words: &[&str]) -> String {
        refused(&self.settings(&[]), id, kind, words)
    }

    pub fn folder(&self, repo: &str) -> PathBuf {
        self.home.path().join("hub").join(format!("models--{}", repo.replace('/', "--")))
    }
}

#[track_caller]
pub fn refused(settings: &HubSettings, id: &str, kind: Kind, words: &[&str]) -> String {
    let message = hub::fetch(settings, &HubId::parse(id).unwrap(), kind, &mut |_| Ok(())).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert!(!message.contains("hf_") && !message.contains('\u{1b}'), "{message:?}");
    message
}

/// Files in a folder and below, by their path in it.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn paths(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.path.as_str()).collect()
}

#[test]
fn a_model_comes_once_and_only_what_is_needed_of_it() {
    let place = Place::new();
    let path = place.fetch(MODEL, Kind::Model).unwrap();
    assert_eq!(path, place.folder(MODEL).join("snapshots").join(COMMIT));
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(files(&path), names);
    for name in names {
        assert_eq!(fs::read(path.join(name)).unwrap(), fs::read(fixture(GPT2).join(name)).unwrap(), "{name}");
    }
    assert!(!place.server.asked().is_empty());
    assert_eq!(place.fetch(MODEL, Kind::Model).unwrap(), path);
    assert_eq!(place.server.asked(), [], "what is there is not asked for");
}

#[test]
fn layers_are_listed_and_only_the_one_on_screen_is_fetched() {
    let place = Place::new();
    let source = |layer: &str| Source::Hub(HubId::parse(&format!("{SAES}/v5_32k_layer_{layer}.pt")).unwrap());
    let numbers = |spec: &SessionSpec| spec.layers.iter().map(|layer| layer.number).collect::<Vec<_>>();
    let spec =
        SessionSpec { sae: Some(source("{layer}")), trained_sae: None, hub: Ok(place.settings(&[])), ..demo_spec() };
    let one = spec.at_layer(2).of_one_layer(&mut silent).unwrap();
    assert_eq!((numbers(&one), &one.sae), (vec![1, 2], &Some(source("2"))));
    assert_eq!(place.server.asked().len(), 1, "a listing is one question");
    one.fetch(&mut silent).unwrap();
    assert!(paths(&place.server.asked()).iter().all(|path| !path.contains("layer_1")));
    // Without the network there is what is in the cache.
    let offline = HubSettings { offline: true, ..place.settings(&[]) };
    let known = SessionSpec { hub: Ok(offline), ..spec.clone() }.of_one_layer(&mut silent).unwrap();
    assert_eq!(numbers(&known), [2]);
    let refused = spec.at_layer(7).of_one_layer(&mut silent).unwrap_err().to_string();
    assert!(refused.contains("--layer 7") && refused.ends_with("has the layers 1-2"), "{refused}");
}

#[test]
fn one_sae_out_of_many() {
    let place = Place::new();
    let path = place.fetch(&format!("{SAES}:v5_32k_layer_2.pt"), Kind::Sae).unwrap();
    assert!(path.ends_with("v5_32k_layer_2.pt"), "{path:?}");
    let snapshot = place.folder(SAES).join("snapshots").join(COMMIT);
    assert_eq!(files(&snapshot), ["v5_32k_layer_2.pt/cfg.json", "v5_32k_layer_2.pt/sae_weights.safetensors"]);
    // The other form of the id, and the same contents under another name: no blob comes twice.
    place.server.asked();
    place.fetch(&format!("{SAES}/v5_32k_layer_1.pt"), Kind::Sae).unwrap();
    let asked = place.server.asked();
    assert_eq!(paths(&asked), [format!("/api/models/{SAES}/revision/main?blobs=true")]);
    assert_eq!(files(&snapshot).len(), 4);
}

/// The files that tell the formats apart come with each, and the repository's name stays in the path.
#[test]
fn every_layout_of_the_fixtures_comes_whole() {
    let place = Place::new();
    let index: serde_json::Value = {
        // Python's JSON has numbers that JSON has not.
        let text = fs::read_to_string(fixture("index.json")).unwrap().replace(": Infinity", ": null");
        serde_json::from_str(&text).unwrap()
    };
    let saes = index["saes"].as_array().unwrap();
    for sae in saes {
        // The folder of one SAE; or its file, with the config beside it.
        let listed: Vec<&str> = sae["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        let mut parts = listed[0].splitn(4, '/');
        let (family, name, inside) = (parts.nth(1).unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let repo = fixture(&format!("saes/{family}/{name}"));
        let id = format!("{family}/{name}");
        place.server.put(&id, Repo::of(&[(&repo, "")]));

        let path = place.fetch(&format!("{id}/{inside}"), Kind::Sae).unwrap();
        let snapshot = place.folder(&id).join("snapshots").join(COMMIT);
        // A member of a folder stands for it.
        let inside = inside.strip_suffix("/params.npz").unwrap_or(inside);
        assert_eq!(path, snapshot.join(inside));
        let (stem, format) = (inside.trim_end_matches(".pt"), &sae["format"]);
        let mut expected: Vec<String> = match repo.join(inside).is_dir() {
            true => files(&repo.join(inside)).iter().map(|file| format!("{inside}/{file}")).collect(),
            false => vec![inside.to_owned(), format!("{stem}_cfg.json")],
        };
        if *format == "sparsify" {
            expected.push("config.json".into());
        }
        expected.retain(|file| !file.ends_with("/sparsity.safetensors") && repo.join(file).is_file());
        for file in &expected {
            let fetched = fs::read(snapshot.join(file)).unwrap_or_else(|e| panic!("{format} {id} {file}: {e}"));
            assert_eq!(fetched, fs::read(repo.join(file)).unwrap(), "{format} {id} {file}");
        }
        let about = |path: &Path| {
            let sae = prunelens_core::sae::formats::load(path).unwrap_or_else(|e| panic!("{format} {id}: {e}"));
            (sae.label(), sae.config.hook, sae.config.space)
        };
        assert_eq!(about(&path), about(&repo.join(inside)), "{format} {id}");
        fs::remove_dir_all(&snapshot).unwrap();
    }
    assert!(saes.len() >= 70, "only {} SAEs", saes.len());
}

#[test]
fn shards_follow_their_index() {
    let place = Place::new();
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let repo = |index: &str| {
        Repo::default()
            .with("config.json", "{}")
            .with("tokenizer.json", "{}")
            .with("model-1.safetensors", "one")
            .with("model-2.safetensors", "two")
            .with("model-3.safetensors", "three")
            .with("model.safetensors.index.json", index)
    };
    place.server.put("o/sharded", repo(index));
    let path = place.fetch("o/sharded", Kind::Model).unwrap();
    let expected =
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"];
    assert_eq!(files(&path), expected);
    place.server.asked();
    // A shard that is missing is fetched, and nothing else.
    fs::remove_file(path.join("model-2.safetensors")).unwrap();
    fs::remove_file(place.folder("o/sharded").join("blobs").join(etag("x.safetensors", b"two"))).unwrap();
    place.fetch("o/sharded", Kind::Model).unwrap();
    assert_eq!(fs::read(path.join("model-2.safetensors")).unwrap(), b"two");
    assert_eq!(place.server.asked().iter().filter(|asked| asked.elsewhere).count(), 1);

    for (name, bad) in [("o/away", "../../../x"), ("o/absent", "model-9.safetensors"), ("o/none", "")] {
        place.server.put(name, repo(&format!("{{\"weight_map\": {{\"a\": {bad:?}}}}}")));
        place.refused(name, Kind::Model, &["weight_map", "plain names"]);
    }
}

#[test]
fn files_by_themselves() {
    let place = Place::new();
    let repo =
        Repo::default().with("gguf/m-q8.gguf", "weights").with("gguf/m-q4.gguf", "other").with("m_wanda.pth", "p");
    place.server.put("o/files", repo);
    let path = place.fetch("o/files/gguf/m-q8.gguf", Kind::Model).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"weights");
    let path = place.fetch("o/files:m_wanda.pth", Kind::PrunedModel).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"p");
    assert_eq!(files(&place.folder("o/files").join("snapshots").join(COMMIT)), ["gguf/m-q8.gguf", "m_wanda.pth"]);
    place.refused("o/files", Kind::Model, &["o/files/gguf/m-q4.gguf", "name the file"]);
}

#[test]
fn the_cache_is_laid_out_as_python_does() {
    let place = Place::new();
    place.fetch(MODEL, Kind::Model).unwrap();
    let folder = place.folder(MODEL);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = |name: &str| fs::read_link(folder.join("snapshots").join(COMMIT).join(name)).unwrap();
    for name in ["config.json", "model.safetensors"] {
        let bytes = fs::read(fixture(GPT2).join(name)).unwrap();
        assert_eq!(link(name), Path::new("../../blobs").join(etag(name, &bytes)));
    }
    // Nothing else is left, such as parts of files.
    let blobs = files(&folder.join("blobs"));
    assert_eq!(blobs.len(), 4, "{blobs:?}");
}

#[test]
fn what_python_fetched_is_used() {
    let place = Place::new();
    let folder = place.folder("google/gemma-scope-2b-pt-res");
    let snapshot = folder.join("snapshots").join(COMMIT);
    let sae = snapshot.join("layer_1/width_16k/average_l0_12");
    fs::create_dir_all(&sae).unwrap();
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    fs::write(folder.join("blobs/abc"), "weights").unwrap();
    std::os::unix::fs::symlink("../../../../../blobs/abc", sae.join("params.npz")).unwrap();
    for id in [
        "google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_12",
        "google/gemma-scope-2b-pt-res:layer_1/width_16k/average_l0_12",
    ] {
        assert_eq!(place.fetch(id, Kind::Sae).unwrap(), sae);
        assert_eq!(place.fetch(&format!("{id}@{COMMIT}"), Kind::Sae).unwrap(), sae);
    }
    assert_eq!(place.server.asked(), []);
    // A link whose blob is gone is no file.
    fs::remove_file(folder.join("blobs/abc")).unwrap();
    place.refused("google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_12", Kind::Sae, &["no such repository"]);
}

#[test]
fn revisions_with_slashes_and_commits() {
    let place = Place::new();
    let id = format!("{SAES}/v5_32k_layer_1.pt@refs/pr/1");
    let path = place.fetch(&id, Kind::Sae).unwrap();
    let folder = place.folder(SAES);
    assert_eq!(fs::read_to_string(folder.join("refs/refs/pr/1")).unwrap(), COMMIT);
    place.server.asked();
    assert_eq!(place.fetch(&format!("{SAES}/v5_32k_layer_1.pt@{COMMIT}"), Kind::Sae).unwrap(), path);
    assert_eq!(place.fetch(&id, Kind::Sae).unwrap(), path);
    assert_eq!(place.server.asked(), []);
    // A commit stands for itself.
    place.fetch(&format!("{SAES}/v5_32k_layer_2.pt@{COMMIT}"), Kind::Sae).unwrap();
    assert!(!folder.join("refs").join(COMMIT).exists());
}

#[test]
fn offline_touches_nothing() {
    let place = Place::new();
    place.fetch(MODEL, Kind::Model).unwrap();
    place.server.asked();
    let offline = place.settings(&[("HF_HUB_OFFLINE", "1")]);
    let fetch = |id: &str, kind| hub::fetch(&offline, &HubId::parse(id).unwrap(), kind, &mut |_: Progress| Ok(()));
    fetch(MODEL, Kind::Model).unwrap();
    let message = fetch(&format!("{SAES}/v5_32k_layer_1.pt"), Kind::Sae).unwrap_err().to_string();
    for word in [SAES, "v5_32k_layer_1.pt", "--offline", "HF_HUB_OFFLINE", "not in the cache"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(place.server.asked(), []);
}
