//! A token in the environment, or in the file that the Python libraries keep it in, is in nothing that the program prints or
//! writes: neither where the hub refuses it nor where everything goes well. Nor are signatures of download addresses, or
//! passwords of proxies.

use std::{fs, process::Command};

use super::{
    MODEL, Place, SAES,
    server::{Fault, Repo, TOKEN},
};
use crate::support::{self, GPT2, Ran, fixture, screen::Screen};

/// In every secret of this test, and in nothing else.
const SECRET: &str = "aSecret";
const WRONG: &str = "hf_aSecretThatIsWrong";

/// Where the token is.
#[derive(Clone, Copy, Debug)]
enum Kept {
    InTheEnvironment,
    InAFile,
}

struct Program {
    home: support::Place,
    hub: Place,
    /// All that was printed.
    seen: String,
}

impl Program {
    fn new() -> Self {
        Self { home: support::Place::new(), hub: Place::new(), seen: String::new() }
    }

    fn command(&self, args: &[&str], token: &str, kept: Kept) -> Command {
        let file = self.hub.home.path().join("token");
        let mut command = self.home.command();
        command.args(args).env("HF_HOME", self.hub.home.path()).env("HF_ENDPOINT", self.hub.server.endpoint());
        command.env("PRUNELENS_LOG", "trace").env("RUST_BACKTRACE", "full");
        match kept {
            Kept::InTheEnvironment => {
                let _ = fs::remove_file(file);
                command.env("HF_TOKEN", token);
            }
            Kept::InAFile => fs::write(file, format!("{token}\n")).unwrap(),
        }
        command
    }

    fn run(&mut self, mut command: Command, code: i32) -> Ran {
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.code, Some(code), "{command:?}: {ran:#?}");
        self.seen += &format!("{}\n{}\n", ran.out, ran.err);
        ran
    }

    /// What was printed, and all that lies in its folders but the token's own file.
    fn everything(&self) -> String {
        let mut all = self.seen.clone();
        for folder in [self.home.path(""), self.hub.home.path().to_path_buf()] {
            for name in super::files(&folder) {
                let own = folder == self.hub.home.path() && name == "token";
                if !own && let Ok(bytes) = fs::read(folder.join(&name)) {
                    all += &format!("{name}\n{}\n", String::from_utf8_lossy(&bytes));
                }
            }
        }
        all
    }
}

#[track_caller]
fn assert_unseen(all: &str) {
    if let Some(at) = all.find(SECRET) {
        let around: String = all[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("a secret after {around}");
    }
}

fn sae() -> String {
    format!("{SAES}/v5_32k_layer_1.pt")
}

#[test]
fn tokens_are_in_no_answer_and_no_file() {
    for kept in [Kept::InTheEnvironment, Kept::InAFile] {
        let mut program = Program::new();
        program.hub.server.put("google/gemma", Repo { gated: true, ..Repo::of(&[(&fixture(GPT2), "")]) });
        // The good one last: what is in the cache needs no token.
        for (token, model, code) in [(WRONG, "google/gemma", 1), (TOKEN, "no/thing", 1), (TOKEN, "google/gemma", 0)] {
            let sae = sae();
            let command =
                program.command(&["inspect", "words", "--json", "--model", model, "--sae", &sae], token, kept);
            program.run(command, code);
        }
        let asked = program.hub.server.asked();
        assert!(asked.iter().any(|a| a.token.as_deref() == Some(TOKEN)), "{kept:?}: it was sent");
        let doctor = program.run(program.command(&["doctor"], TOKEN, kept), 0);
        assert!(doctor.out.contains("set, from"), "{}", doctor.out);
        let sae = sae();
        let on_hub = ["--model", "google/gemma", "--sae", &sae];
        let compressed = [&on_hub[..], &["--compress", "magnitude:0.5"]].concat();
        let lines: [(&str, &[&str]); 11] = [
            ("doctor --json", &[]),
            ("doctor --load", &compressed),
            ("presets --json", &[]),
            ("cache", &[]),
            ("session init session.toml", &[]),
            ("study init study.toml --preset demo", &[]),
            ("study slurm study.toml --out study", &[]),
            ("inspect words --save prompt.safetensors", &compressed),
            ("metrics core --rows 4 --context 16 --results results", &compressed),
            ("prune model --out pruned --compress magnitude:0.5", &on_hub[..2]),
            ("render --keys i<wait> --out screen.svg", &compressed),
        ];
        for (line, more) in lines {
            let args: Vec<&str> = line.split(' ').chain(more.iter().copied()).collect();
            program.run(program.command(&args, TOKEN, kept), 0);
        }
        let all = program.everything();
        assert!(
            all.contains("downloading") && all.contains("study.sbatch") && all.contains("</svg>"),
            "files were read"
        );
        assert_unseen(&all);
    }
}

#[test]
fn signatures_of_addresses_and_passwords_of_proxies_are_not_told() {
    let mut program = Program::new();
    let sae = sae();
    let args = ["inspect", "words", "--json", "--model", MODEL, "--sae", &sae];
    let nowhere = "http://127.0.0.1:9/blob?X-Amz-Signature=aSecretSignature";
    for fault in [Fault::Astray(nowhere.into()), Fault::Status(503)] {
        program.hub.server.fault("model.safetensors", fault, usize::MAX);
        let command = program.command(&args, TOKEN, Kept::InTheEnvironment);
        program.run(command, 1);
        program.hub.server.heal();
    }
    let mut command = program.command(&args, TOKEN, Kept::InTheEnvironment);
    for name in ["ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
        command.env(name, "http://me:aSecretPassword@127.0.0.1:9");
    }
    command.env("NO_PROXY", "").env("no_proxy", "");
    program.run(command, 1);
    let mut command = program.command(&args, TOKEN, Kept::InTheEnvironment);
    command.env("HF_ENDPOINT", "http://me:aSecretPassword@127.0.0.1:9");
    program.run(command, 1);
    assert_unseen(&program.everything());
}

#[test]
fn tokens_are_in_no_view_no_cast_and_no_picture() {
    let hub = Place::new();
    let (home, endpoint, id) = (hub.home.path().to_str().unwrap(), hub.server.endpoint(), sae());
    let env = [("HF_HOME", home), ("HF_ENDPOINT", &*endpoint), ("HF_TOKEN", TOKEN), ("PRUNELENS_LOG", "trace")];
    let args = [
        "--model",
        MODEL,
        "--sae",
        &id,
        "--compress",
        "magnitude:0.5",
        "--results",
        "results",
        "--prompt",
        "some words",
    ];
    let mut screen = Screen::with(support::Place::new(), &args, &env, (120, 36));
    screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));
    screen.keys("\t:record it\r");
    screen.wait_for("recording");
    screen.keys("i");
    screen.wait_for("longest prompt");
    screen.keys("\x1b");
    screen.wait("the table again", |s| !s.contains("longest prompt"));
    screen.keys(":open --model no/thing\r");
    screen.wait_for("no such repository");
    screen.keys("e");
    screen.wait_for("wrote ");
    screen.keys(":save-view here\r");
    screen.wait_for("here.toml");
    screen.keys(":record\r");
    screen.wait_for("it.cast");
    screen.keys("\x03");
    screen.ended();
    assert_unseen(&String::from_utf8_lossy(&screen.sent));
    let place = screen.left();
    let names = super::files(&place.path(""));
    for ending in [".cast", ".svg", ".html", ".json", ".log", "here.toml"] {
        assert!(names.iter().any(|name| name.ends_with(ending)), "{ending} in {names:?}");
    }
    for name in names {
        assert_unseen(&String::from_utf8_lossy(&fs::read(place.path(&name)).unwrap()));
    }
}
