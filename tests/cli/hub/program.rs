//! The program with hub ids.

use std::{os::unix::process::CommandExt, process::Command};

use serde_json::Value;

use super::{
    MODEL, Place, SAES,
    server::{Fault, Gate, Repo, TOKEN},
};
use crate::support::{self, GPT2, Ran, SAE, fixture, screen::Screen};

/// The program with a home of its own and this hub.
struct Program {
    home: support::Place,
    hub: Place,
}

impl Program {
    fn new() -> Self {
        Self { home: support::Place::new(), hub: Place::new() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command();
        command.args(args).env("HF_HOME", self.hub.home.path()).env("HF_ENDPOINT", self.hub.server.endpoint());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }
}

fn sae() -> String {
    format!("{SAES}/v5_32k_layer_1.pt")
}

#[test]
fn ids_give_the_figures_of_folders() {
    let program = Program::new();
    let inspect = |model: &str, sae: &str, more: &[&str]| {
        let args = ["inspect", "some words to read", "--json", "--model", model, "--sae", sae];
        program.run(&[&args, more].concat()).done().json()
    };
    let local = inspect(fixture(GPT2).to_str().unwrap(), fixture(SAE).to_str().unwrap(), &[]);
    let remote = inspect(MODEL, &sae(), &[]);
    assert!(!program.hub.server.asked().is_empty());
    let again = inspect(MODEL, &sae(), &["--offline"]);
    assert_eq!(program.hub.server.asked(), []);
    for key in ["tokens", "variants", "survival"] {
        assert_ne!(local[key], Value::Null);
        assert_eq!(local[key], remote[key], "{key}");
        assert_eq!(local[key], again[key], "{key}");
    }
    // Named by the repository, not by a commit.
    assert!(remote["models"].to_string().contains("gpt2"), "{}", remote["models"]);
    assert!(!remote.to_string().contains(super::COMMIT), "{remote}");
}

#[test]
fn a_layer_without_a_trained_sae_on_the_hub_is_measured_without_it() {
    const TRAINED: &str = "someone/trained";
    let program = Program::new();
    program.hub.server.put(TRAINED, Repo::of(&[(&fixture(SAE), "layer_2")]));
    let (sae, trained) = (format!("{SAES}/v5_32k_layer_{{layer}}.pt"), format!("{TRAINED}/layer_{{layer}}"));
    let metrics = |layers: &str| {
        let rows = ["metrics", "core", "--rows", "2", "--context", "8", "--batch", "2", "--json", "--results", "out"];
        let own = ["--model", MODEL, "--sae", &sae, "--trained-sae", &trained, "--layers", layers];
        program.run(&[&rows[..], &own].concat())
    };
    let json = metrics("1").done().json();
    assert_eq!(json["layers"]["1"]["core"]["variants"].as_array().unwrap().len(), 3, "{json}");
    metrics("1,7").refused(2, &["--layers 7", "has the layers 1-2"]);
}

#[test]
fn pruning_and_session_files_take_ids() {
    let program = Program::new();
    let text = format!("model = '{MODEL}'\nsae = '{}'\ncompress = 'magnitude:0.5'", sae());
    program.home.write("session.toml", text);
    program.run(&["prune", "model", "--session", "session.toml", "--out", "pruned"]).done();
    assert!(program.home.path("pruned/model.safetensors").is_file());
    program.run(&["prune", "sae", "--session", "session.toml", "--out", "sae"]).done();
    assert!(program.home.path("sae/sae_weights.safetensors").is_file());
    // And what was pruned goes beside its original.
    let pruned = program.home.path("pruned");
    let args =
        ["inspect", "some words", "--json", "--session", "session.toml", "--pruned-model", pruned.to_str().unwrap()];
    program.run(&args).done();
}

#[test]
fn a_folder_comes_before_an_id() {
    let program = Program::new();
    program.home.copy(GPT2, MODEL);
    program.home.copy(SAE, &sae());
    program.run(&["inspect", "some words", "--json", "--model", MODEL, "--sae", &sae()]).done();
    assert_eq!(program.hub.server.asked(), []);
}

#[test]
fn a_full_disk_says_so() {
    let program = Program::new();
    let mut command = program.command(&["inspect", "words", "--json", "--model", MODEL, "--sae", &sae()]);
    let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: 100_000 };
    // SAFETY: setrlimit is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    Ran::from(command.output().unwrap()).refused(1, &["cannot be written beyond", "make room", "HF_HOME"]);
    // With room again it goes on.
    program.run(&["inspect", "words", "--json", "--model", MODEL, "--sae", &sae()]).done();
}

#[test]
fn presets_say_what_is_there() {
    let program = Program::new();
    let text = program.run(&["presets"]).done().out;
    for words in ["gpt2-small/resid/LAYER", "layers 0-11", "llama-3.1-8b/attn/LAYER", "no download"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("in the cache"), "{text}");
    program.run(&["inspect", "some words", "--model", MODEL, "--sae", &sae()]).done();
    program.hub.server.asked();
    let text = program.run(&["presets"]).done().out;
    assert!(text.contains("in the cache: the model"), "{text}");
    let json = program.run(&["presets", "--json"]).done().json();
    let presets = json["presets"].as_array().unwrap();
    let find = |name: &str| presets.iter().find(|p| p["name"] == name).unwrap();
    let gpt2 = find("gpt2-small/mlp/3");
    assert_eq!((&gpt2["model"]["id"], &gpt2["model"]["cached"]), (&MODEL.into(), &true.into()));
    assert_eq!(gpt2["sae"]["cached"], false);
    assert!(gpt2["sae"]["bytes"].as_u64().unwrap() > 100_000_000);
    assert_eq!(find("demo")["model"], Value::Null);
    assert_eq!(program.hub.server.asked(), []);
}

#[test]
fn sessions_are_written_and_opened() {
    let program = Program::new();
    let text = program.run(&["session", "init", "--preset", "gpt2-small/attn/5"]).done().out;
    assert!(text.contains("ds49152") && text.contains("# offline = false"), "{text}");
    program.run(&["session", "init", "study.toml"]).done();
    program.run(&["session", "init", "study.toml"]).refused(1, &["study.toml", "--force"]);
    program.run(&["session", "init", "study.toml", "--force"]).done();
    program.run(&["inspect", "The army", "--session", "study.toml"]).done();
    program.run(&["inspect", "The army", "--session", "demo"]).done();
    program.run(&["session", "init", "--preset", "gpt2-small/resid/12"]).refused(1, &["layers 0-11"]);
    program.run(&["inspect", "x", "--session", "gpt2-small/all/1"]).refused(1, &["gpt2-small/mlp/LAYER"]);
    program.run(&["inspect", "x", "--session", "nothing"]).refused(1, &["nothing", "prunelens presets"]);
    // The preset's model is taken from the hub, and it is said what is missing.
    program
        .run(&["inspect", "x", "--session", "gpt2-small/mlp/0", "--offline"])
        .refused(1, &["jbloom/GPT2", "--offline"]);
}

#[test]
fn the_explorer_shows_how_far_it_is_and_can_be_left() {
    let hub = Place::new();
    let gate = Gate::default();
    hub.server.fault("model.safetensors", Fault::Slow(gate.clone()), usize::MAX);
    gate.open();
    let (home, endpoint, id) = (hub.home.path().to_str().unwrap(), hub.server.endpoint(), sae());
    let env = [("HF_HOME", home), ("HF_ENDPOINT", &*endpoint), ("HF_TOKEN", TOKEN)];
    let args = ["--model", MODEL, "--sae", &id];
    let start = || Screen::with(support::Place::new(), &args, &env, (120, 36));

    let mut screen = start();
    screen.wait(MODEL, |s| s.contains(&format!("downloading {MODEL}")) && s.contains(" %") && s.contains(" of "));
    screen.keys("\x1b");
    screen.wait_for("q quit");
    screen.keys("q");
    assert!(screen.ended().success());
    assert!(!String::from_utf8_lossy(&screen.sent).contains(TOKEN));

    // Another time it goes on, and opens.
    let part = super::files(&hub.folder(MODEL)).into_iter().find(|name| name.ends_with(".incomplete"));
    assert!(part.is_some());
    gate.open();
    let mut screen = start();
    screen.wait_for("8 topk8");
    assert!(hub.server.asked().iter().any(|asked| asked.from > 0));
}
