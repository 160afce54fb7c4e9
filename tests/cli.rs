//! The command line from outside: help, pages, exit codes, and answers that other programs read.

mod support;

use std::{fs, io::Read, process::Stdio};

use support::Place;

const COMMANDS: [&str; 10] =
    ["explore", "inspect", "prune", "train", "metrics", "bench", "render", "doctor", "completions", "man"];

#[test]
fn help() {
    let place = Place::new();
    let mut snapshot = |name: &str, args: &[&str]| {
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
}

#[test]
fn version() {
    let version = concat!("prunelens ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(Place::new().run(["--version"]).done().out, version);
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
    let cases: [(&[&str], &[&str]); 18] = [
        (&["--no-such-flag"], &["unexpected argument '--no-such-flag'"]),
        (&["no-such-command"], &["no-such-command"]),
        (&["inspect"], &["<PROMPT>"]),
        (&["prune"], &["requires a subcommand", "model", "sae"]),
        (&["prune", "sae"], &["--out"]),
        (&["metrics"], &["NAME"]),
        (&["metrics", "perplexity"], &["perplexity", "core"]),
        (&["--ratio", "1"], &["--ratio", "0.99"]),
        (&["--ratio", "NaN"], &["--ratio"]),
        (&["--ratio", "-0.1"], &["-0"]),
        (&["--dtype", "f64"], &["f32", "bf16", "f16"]),
        (&["--criterion", "best"], &["wanda", "paper", "magnitude", "random"]),
        (&["--compress", "wanda:4:2"], &["wanda:4:2", "wanda:N:M"]),
        (&["--device", "tpu"], &["tpu", "cuda:N"]),
        (&["--tl-processing", "maybe"], &["on", "off", "auto"]),
        (&["--threads", "0"], &["--threads"]),
        (&["--hook", "layer 3"], &["layer 3", "blocks.LAYER.SITE"]),
        (&["--pruned-model", "x", "--compress", "none"], &["--pruned-model", "--compress"]),
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
    assert_eq!(support::Ran::from(output).done().json()["cpu"]["threads"], 1);
}

#[test]
fn folders_follow_the_environment() {
    let place = Place::new();
    let state = place.path("elsewhere");
    let output = place.command().args(["doctor", "--json"]).env("XDG_STATE_HOME", &state).output().unwrap();
    let json = support::Ran::from(output).done().json();
    assert_eq!(json["folders"]["state"], state.join("prunelens").to_str().unwrap());
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let place = Place::new();
    let file = place.write("file", "");
    let output = place.command().arg("doctor").env("XDG_STATE_HOME", file).output().unwrap();
    support::Ran::from(output).done();
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
        support::Ran::from(output).refused(1, &["cannot write the answer to stdout"]);
    }
}
