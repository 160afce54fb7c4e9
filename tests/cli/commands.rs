//! The command line from outside: help, pages, exit codes, and answers that other programs read.

use std::{
    fs,
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::support::{GPT2, LLAMA, Place, Ran, SAE, fixture};

const COMMANDS: [&str; 16] = [
    "explore",
    "inspect",
    "prune",
    "train",
    "metrics",
    "atlas",
    "study",
    "check",
    "data",
    "bench",
    "render",
    "presets",
    "session",
    "doctor",
    "completions",
    "man",
];

#[test]
fn help() {
    let place = Place::new();
    let snapshot = |name: &str, args: &[&str]| {
        let help = place.run(args.iter().chain(&["--help"])).done().printable();
        insta::assert_snapshot!(format!("help{name}"), help.out);
    };
    snapshot("", &[]);
    for command in COMMANDS {
        snapshot(&format!("-{command}"), &[command]);
    }
    for target in ["model", "sae"] {
        snapshot(&format!("-prune-{target}"), &["prune", target]);
    }
    snapshot("-atlas-report", &["atlas", "report"]);
    for study in ["redundancy", "rules", "report", "diff"] {
        snapshot(&format!("-study-{study}"), &["study", study]);
    }
    snapshot("-data-entities", &["data", "entities"]);
    snapshot("-session-init", &["session", "init"]);
    snapshot("-data-labels", &["data", "labels"]);
}

#[test]
fn version() {
    let place = Place::new();
    let short = concat!("prunelens ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(place.run(["-V"]).done().out, short);
    let long = place.run(["--version"]).done().out;
    let features = if cfg!(feature = "cuda") { "features cpu cuda" } else { "features cpu" };
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[..2], [short.trim_end(), features]);
    assert!(lines[2].starts_with(&format!("target {}-{}", std::env::consts::ARCH, std::env::consts::OS)), "{long}");
}

#[test]
fn completions() {
    let place = Place::new();
    insta::assert_snapshot!("completions-fish", place.run(["completions", "fish"]).done().out);
    for shell in ["bash", "zsh", "elvish", "powershell"] {
        let script = place.run(["completions", shell]).done().out;
        for word in COMMANDS.iter().chain(&["--pruned-model", "--tl-processing", "--calibration"]) {
            assert!(script.contains(word), "{shell} knows no {word}");
        }
    }
}

#[test]
fn man() {
    let place = Place::new();
    let version = concat!("prunelens ", env!("CARGO_PKG_VERSION"));
    let page = place.run(["man"]).done().out.replace(version, "prunelens VERSION");
    insta::assert_snapshot!("man", page);

    let folder = place.path("pages");
    assert_eq!(place.run(["man", "--out", folder.to_str().unwrap()]).done().out, "");
    for page in ["prunelens.1", "prunelens-inspect.1", "prunelens-prune-sae.1"] {
        assert!(fs::read_to_string(folder.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn wrong_use_is_code_2() {
    let place = Place::new();
    let cases: [(&[&str], &[&str]); 19] = [
        (&["--no-such-flag"], &["unexpected argument '--no-such-flag'"]),
        (&["no-such-command"], &["no-such-command"]),
        (&["inspect"], &["<PROMPT>"]),
        (&["prune"], &["requires a subcommand", "model", "sae"]),
        (&["prune", "sae"], &["--out"]),
        (&["metrics"], &["NAME"]),
        (&["metrics", "perplexity"], &["perplexity", "core"]),
        (&["--ratio", "1"], &["--ratio", "0.99"]),
        (&["--ratio", "NaN"], &["--ratio"]),
        (&["--ratio", "-0.1"], &["'-0.1' for '--ratio <R>'", "0.99"]),
        (&["metrics", "core", "--rows", "-3"], &["'-3' for '--rows <"]),
        (&["--dtype", "f64"], &["f32", "bf16", "f16"]),
        (&["--criterion", "best"], &["wanda", "paper", "magnitude", "random"]),
        (&["--compress", "wanda:4:2"], &["wanda:4:2", "wanda:N:M"]),
        (&["--device", "tpu"], &["tpu", "cuda:N"]),
        (&["--tl-processing", "maybe"], &["on", "off", "auto"]),
        (&["--threads", "0"], &["--threads"]),
        (&["--hook", "layer 3"], &["layer 3", "blocks.LAYER.SITE"]),
        (&["--pruned-model", "x", "--compress", "none"], &["--compressed-model", "--compress"]),
    ];
    for (args, words) in cases {
        place.run(args).refused(2, words);
    }
    // Flags of the explorer do not silently stay behind when a command follows.
    place.run(["--ratio", "0.5", "inspect", "text"]).refused(2, &["inspect", "--ratio"]);
    for size in ["0x5", "120", "5000x5"] {
        place.run(["render", "--size", size, "--out", "x.svg"]).refused(2, &["--size", "120x36"]);
    }
}

#[test]
fn the_explorer_needs_a_terminal() {
    let place = Place::new();
    let none: [&str; 0] = [];
    place.run(none).refused(2, &["needs a terminal", "prunelens render", "prunelens inspect"]);
    place.run(["explore"]).refused(2, &["needs a terminal"]);
}

/// Arguments that name the fixture's model and SAE.
fn on_fixture(args: &[&str]) -> Vec<String> {
    let named =
        ["--model".into(), fixture(GPT2).display().to_string(), "--sae".into(), fixture(SAE).display().to_string()];
    args.iter().map(|arg| (*arg).to_owned()).chain(named).collect()
}

#[test]
fn inspect() {
    let place = Place::new();
    let table = place.run(on_fixture(&["inspect", "The river keeps"])).done().printable().out;
    for word in ["gpt2", "wanda 50%", "blocks.1.hook_resid_post", "original", "transfer", "pruned", "kl_div_with_sae"] {
        assert!(table.contains(word), "{word:?} is not in\n{table}");
    }
    let json = place.run(on_fixture(&["inspect", "--prompt", "The river keeps", "--json"])).done().json();
    assert_eq!(json["prompt"], "The river keeps");
    assert_eq!(json["hook"], "blocks.1.hook_resid_post");
    let ids = json["tokens"]["ids"].as_array().unwrap();
    assert_eq!(ids[0], 511, "BOS comes first");
    for variant in ["original", "transfer", "pruned"] {
        let variant = &json["variants"][variant];
        for figure in ["l0", "mse", "explained_variance", "cossim", "ce_loss_with_sae", "kl_div_with_sae"] {
            assert!(variant[figure].is_f64(), "{figure}: {variant}");
        }
        assert_eq!(variant["top"].as_array().unwrap().len(), ids.len());
    }
    assert_eq!(json["survival"].as_array().unwrap().len(), 20);

    place.run(on_fixture(&["inspect", "The river keeps", "--save", "x.safetensors"])).done();
    let bytes = fs::read(place.path("x.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    let n = ids.len();
    assert_eq!(shape("tokens"), [n]);
    assert_eq!((shape("original.logits"), shape("pruned.acts")), (vec![n, 512], vec![n, 36]));
    assert_eq!((shape("variant.pruned.latents"), shape("variant.transfer.recons")), (vec![n, 128], vec![n, 36]));
}

#[test]
fn a_session_file_says_the_same_as_flags() {
    let place = Place::new();
    let flags =
        on_fixture(&["inspect", "The river", "--json", "--ratio", "0.5", "--criterion", "magnitude", "--no-bos"]);
    let by_flags = place.run(flags).done().out;
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    let file = format!(
        "model = {:?}\nsae = {:?}\nratio = 0.5\ncriterion = 'magnitude'\nbos = false\n",
        model.to_str().unwrap(),
        sae.to_str().unwrap()
    );
    place.write("s.toml", file);
    assert_eq!(place.run(["inspect", "The river", "--json", "--session", "s.toml"]).done().out, by_flags);
    let beside = ["inspect", "The river", "--json", "--session", "s.toml", "--no-bos=false", "--no-cache=false"];
    let with_bos = on_fixture(&["inspect", "The river", "--json", "--ratio", "0.5", "--criterion", "magnitude"]);
    assert_eq!(place.run(beside).done().out, place.run(with_bos).done().out, "a flag takes back what the file says");
}

/// What a rule decided is kept, and taken from there the second time.
#[test]
fn a_model_in_16_bits_is_opened_as_it_was() {
    let place = Place::new();
    for dtype in ["bf16", "f16"] {
        for rule in ["wanda:0.5", "wanda:2:4", "magnitude:0.3", "wanda:neurons:0.25", "rtn:int8"] {
            let args = on_fixture(&["inspect", "The river", "--json", "--dtype", dtype, "--compress", rule]);
            let first = place.run(&args).done().out;
            assert_eq!(place.run(&args).done().out, first, "{dtype} {rule}");
        }
    }
}

#[test]
fn metrics() {
    let place = Place::new();
    let args = on_fixture(&["metrics", "core", "--rows", "4", "--context", "16", "--json", "--results", "results"]);
    let json = place.run(args).done().json();
    let files = json["core"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 3, "{json}");
    for file in files {
        let result: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path(file.as_str().unwrap())).unwrap()).unwrap();
        assert!(result["eval_result_metrics"]["model_performance_preservation"].is_object(), "{result}");
    }
}

#[test]
fn render() {
    let place = Place::new();
    let args = on_fixture(&["render", "--size", "100x30", "--keys", "The river<wait>", "--out", "screen.txt"]);
    place.run(args).done();
    let text = fs::read_to_string(place.path("screen.txt")).unwrap();
    assert_eq!(text.lines().count(), 30);
    assert!(text.contains("The river") && text.contains("latents at"), "{text}");
    place.run(["render", "--out", "screen.png"]).refused(2, &[".svg", ".txt", ".cast"]);
    place.run(["render", "--keys", "<nokey>", "--out", "x.svg"]).refused(2, &["nokey"]);
    // Texts and views that are not there are told by their flags, before anything is loaded.
    place.run(["render", "--corpus", "tiny.txt", "--out", "x.svg"]).refused(1, &["--corpus tiny.txt: no such file"]);
    place.run(["inspect", "a", "--calibration", "no.txt"]).refused(1, &["--calibration no.txt: no such file"]);
    place.run(["render", "--view", "no.toml", "--out", "x.svg"]).refused(1, &["--view no.toml: No such file"]);
    place.write("study.toml", "corpus = \"tiny.txt\"");
    place.run(["inspect", "a", "--session", "study.toml"]).refused(1, &["corpus ", "tiny.txt: no such file"]);
}

/// Ask the process to stop once its log says that it listens.
#[test]
fn an_interrupt_is_code_130_and_leaves_nothing() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["metrics", "core", "--rows", "300", "--results", "results"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = place.path("home/.local/state/prunelens/prunelens.log");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&log).is_ok_and(|log| log.contains("settings")) {
        assert!(Instant::now() < deadline, "the log never says that it has begun");
        std::thread::yield_now();
    }
    // SAFETY: a signal to a child of this process that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    Ran::from(child.wait_with_output().unwrap()).refused(130, &["interrupted"]);
    assert!(!place.path("results/core").exists());
}

#[test]
fn doctor() {
    let place = Place::new();
    let text = place.run(["doctor"]).done().printable().out;
    let home = place.path("home");
    for word in
        ["cpu features", "memory", "gpu", "terminal", "threads", home.join(".config/prunelens").to_str().unwrap()]
    {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let json = place.run(["doctor", "--json"]).done().json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["gpu"]["built_with_cuda"], cfg!(feature = "cuda"));
    assert_eq!(json["built"]["features"][0], "cpu");
    // It ends with what to do, the last of it for who has no terminal here.
    let next: Vec<&str> = json["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(next.last().unwrap().contains("prunelens inspect"), "{next:?}");
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("next")).map(str::trim).collect();
    assert_eq!(told, next);
    assert_eq!(json["terminal"]["present"], false);
    assert!(json["cpu"]["threads"].as_u64().unwrap() > 0);
    let log = json["folders"]["log"].as_str().unwrap();
    assert!(fs::metadata(log).unwrap().is_file(), "the log that doctor names exists");
}

#[test]
fn threads_are_limited() {
    let place = Place::new();
    let mut command = place.command();
    let output = command.args(["doctor", "--json"]).env("PRUNELENS_THREADS", "1").output().unwrap();
    assert_eq!(Ran::from(output).done().json()["cpu"]["threads"], 1);
    let json = place.run(["doctor", "--json", "--threads", "1", "--results", "mine"]).done().json();
    assert_eq!(json["cpu"]["threads"], 1);
    assert_eq!(json["folders"]["results"].as_str(), place.path("mine").to_str(), "what flags say is in force");
    place.run(["doctor", "--session", "nowhere.toml"]).refused(1, &["nowhere.toml"]);
}

#[test]
fn layers_without_an_sae_are_refused_before_any_is_measured() {
    let place = Place::new();
    let model = fixture(LLAMA);
    let saes = fixture("saes/llama/saelens-v6-llama/jumprelu/blocks.{layer}.hook_resid_post");
    let args = ["metrics", "core", "--rows", "2", "--context", "8", "--layers", "0-1", "--results", "out"];
    let own = ["--model", model.to_str().unwrap(), "--sae", saes.to_str().unwrap()];
    place.run(args.iter().chain(&own)).refused(2, &["--layers 0", "has the layers 1"]);
    // One that is trained is of one layer, and which is not said.
    let trained = fixture(SAE);
    let on_the_demo = ["metrics", "core", "--layers", "2", "--trained-sae", trained.to_str().unwrap()];
    place.run(on_the_demo).refused(2, &["--trained-sae", "is of one layer", "{layer}"]);
    assert!(!place.path("out").exists());
}

#[test]
fn folders_follow_the_environment() {
    let place = Place::new();
    let state = place.path("elsewhere");
    let output = place.command().args(["doctor", "--json"]).env("XDG_STATE_HOME", &state).output().unwrap();
    let json = Ran::from(output).done().json();
    assert_eq!(json["folders"]["state"], state.join("prunelens").to_str().unwrap());
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let place = Place::new();
    let file = place.write("file", "");
    let output = place.command().arg("doctor").env("XDG_STATE_HOME", file).output().unwrap();
    Ran::from(output).done();
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    for args in [&["completions", "zsh"][..], &["man"], &["doctor"], &["--help"]] {
        let mut child =
            Place::new().command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    for args in [&["completions", "zsh"][..], &["doctor", "--json"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Place::new().command().args(args).stdout(full).output().unwrap();
        Ran::from(output).refused(1, &["cannot write the answer to stdout"]);
    }
}
