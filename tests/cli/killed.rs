//! Killed at any moment, by what no program can answer (SIGKILL), it leaves files that are whole: old, new or not there. The
//! next start goes on, and removes what was being written.
//!
//! `PRUNELENS_KILLS` says how often in all (once a kind unless it is set), `PRUNELENS_KILL_SEED` at which moments.

pub mod whole;

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::support::{Place, Ran, screen::Screen};
use whole::{below, is_temporary, whole};

/// What a kind of files is written by; `n` is another number each time, for what would not be written twice otherwise.
struct Kind {
    name: &'static str,
    args: fn(&Place, n: usize) -> String,
    /// Files in `out` or the home folder that the first, undisturbed run makes.
    makes: &'static str,
    /// Exit codes of the runs that go on.
    codes: &'static [i32],
}

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/prunelens-core/demo/calibration.jsonl");

const KINDS: [Kind; 13] = [
    Kind {
        name: "results and checkpoints of a metric",
        args: |_, n| {
            let rows = 8 + n % 8;
            format!("metrics core --rows {rows} --context 24 --batch 2 --checkpoint-every 0 --results out")
        },
        makes: "out/core",
        codes: &[0],
    },
    Kind {
        name: "an atlas",
        args: |_, n| {
            format!("metrics atlas --rows {} --context 24 --batch 4 --checkpoint-every 0 --out out", 4 + n % 5)
        },
        makes: "out/atlas.json",
        codes: &[0],
    },
    Kind {
        name: "a training",
        args: |place, _| {
            // It was finished.
            if place.path("out/cfg.json").exists() {
                return "doctor".into();
            }
            format!(
                "train --compress none --text {TEXT} --hook blocks.0.hook_mlp_out --d-sae 64 --k 4 --context 64 --batch 64 \
                 --buffer 512 --tokens 6000 --checkpoint-every 0 --out out"
            )
        },
        makes: "out/cfg.json",
        codes: &[0],
    },
    Kind {
        name: "a pruned model",
        args: |_, n| format!("prune model --compress magnitude:0.{} --force --out out", 1 + n % 8),
        makes: "out/model.safetensors",
        codes: &[0],
    },
    Kind {
        name: "a compressed model",
        args: |_, n| format!("compress model --compress rtn:int{}:g32 --force --out out", [4, 8][n % 2]),
        makes: "out/model.safetensors",
        codes: &[0],
    },
    Kind {
        name: "a pruned SAE",
        args: |_, n| format!("prune sae --ratio 0.{} --force --out out", 1 + n % 8),
        makes: "out/sae_weights.safetensors",
        codes: &[0],
    },
    Kind {
        name: "cells of a study",
        args: |_, _| "study run study.toml --out out --checkpoint-every 0".into(),
        makes: "out/cells",
        codes: &[0],
    },
    Kind { name: "a report of a study", args: |_, _| "study report study --out out".into(), makes: "out", codes: &[0] },
    Kind {
        name: "tensors of a prompt, and the cache",
        args: |_, n| format!("inspect navy --compress wanda:0.{} --save out/prompt.safetensors --force", 1 + n % 8),
        makes: "home/.cache/prunelens/made",
        codes: &[0],
    },
    Kind {
        name: "a picture",
        args: |_, _| "render --keys 'The army<wait>' --out out/screen.svg".into(),
        makes: "out/screen.svg",
        codes: &[0],
    },
    Kind {
        name: "a cast",
        args: |_, _| "render --keys 'The army<wait>' --out out/screen.cast".into(),
        makes: "out/screen.cast",
        codes: &[0],
    },
    Kind {
        name: "a session file",
        args: |_, _| "session init out/session.toml --force".into(),
        makes: "out/session.toml",
        codes: &[0],
    },
    Kind {
        name: "outcomes of a check",
        args: |_, _| "check study --junit out/outcomes.xml".into(),
        makes: "out/outcomes.xml",
        codes: &[0, 1],
    },
];

/// Moments to kill at: anywhere in the time a run takes, or soon after something temporary appeared.
enum Moment {
    At(Duration),
    InAWrite(Duration),
}

impl Moment {
    fn draw(random: &mut StdRng, most: Duration) -> Self {
        match random.random_bool(0.5) {
            true => Self::At(most.mul_f64(random.random())),
            false => Self::InAWrite(Duration::from_micros(random.random_range(0..3000))),
        }
    }

    /// Until it has come, or `ended`.
    fn wait(&self, folders: &[PathBuf], before: &[PathBuf], mut ended: impl FnMut() -> bool) {
        let begun = Instant::now();
        let temporary = |path: &PathBuf| is_temporary(path) && !before.contains(path);
        while !ended() {
            match self {
                Self::At(time) if begun.elapsed() >= *time => return,
                Self::InAWrite(after) if folders.iter().flat_map(|f| below(f)).any(|path| temporary(&path)) => {
                    let seen = Instant::now();
                    while seen.elapsed() < *after {
                        std::thread::yield_now();
                    }
                    return;
                }
                _ => std::thread::yield_now(),
            }
        }
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// A place with what the kinds read.
fn place() -> Place {
    let place = Place::new();
    let study = "[grid]\ncompress = [\"magnitude:0.5\"]\nratios = [0.25]\n[metrics.core]\nrows = 8\nbatch = 4\ncontext = 24\n\
                 [metrics.sweep]\nrows = 8\nbatch = 4\ncontext = 24\n[[bounds]]\nmetric = \"core\"\nfigure = \"explained_variance\"\nleast = 0.0\n";
    place.write("study.toml", study);
    place
}

fn words(line: &str) -> Vec<String> {
    shell_words::split(line).unwrap()
}

/// Every file that is there is whole.
#[track_caller]
fn assert_whole(place: &Place, what: &str) {
    for path in below(&place.path("")) {
        if let Err(why) = whole(&path) {
            panic!("{what}: {} is not whole: {why}", path.display());
        }
    }
}

/// As if the kill were long ago: what it left goes with the next write to its folder.
fn age(place: &Place) {
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for path in below(&place.path("")).iter().filter(|path| is_temporary(path)) {
        fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

/// Kill one kind so many times; gives how many of them struck in a write, and how many came too late.
fn kill(kind: &Kind, times: usize, random: &mut StdRng) -> (usize, usize) {
    let place = place();
    if kind.name.contains("report") || kind.name.contains("check") {
        place.run(words("study run study.toml --out study")).done();
    }
    fs::create_dir_all(place.path("out")).unwrap();
    let run = |n: usize| Ran::from(place.command().args(words(&(kind.args)(&place, n))).output().unwrap());
    let goes_on = |n: usize, when: &str| {
        let ran = run(n);
        assert!(ran.code.is_some_and(|code| kind.codes.contains(&code)), "{}, {when}: {ran:#?}", kind.name);
        ran
    };
    let begun = Instant::now();
    goes_on(0, "undisturbed");
    let time = begun.elapsed();
    assert!(place.path(kind.makes).exists(), "{} makes {}", kind.name, kind.makes);
    assert_whole(&place, kind.name);
    let (mut struck, mut late) = (0, 0);
    let folders = [place.path("out"), place.path("home"), place.path("")];
    for n in 1..=times {
        begin_anew(kind, &place);
        let before: Vec<PathBuf> = below(&place.path("")).into_iter().filter(|path| is_temporary(path)).collect();
        let mut command = place.command();
        command.args(words(&(kind.args)(&place, n))).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        Moment::draw(random, time).wait(&folders, &before, || child.try_wait().unwrap().is_some());
        late += usize::from(child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_whole(&place, kind.name);
        struck += usize::from(below(&place.path("")).iter().any(|path| is_temporary(path) && !before.contains(path)));
        age(&place);
        goes_on(n, "after a kill");
        assert_whole(&place, kind.name);
    }
    let left: Vec<_> = below(&place.path("out")).into_iter().filter(|path| is_temporary(path)).collect();
    assert!(left.is_empty(), "{}: {left:?}", kind.name);
    (struck, late)
}

/// What would otherwise be there already, and not be made again.
fn begin_anew(kind: &Kind, place: &Place) {
    let gone = match kind.name {
        "cells of a study" | "a training" => "out",
        "tensors of a prompt, and the cache" => "home/.cache/prunelens/made",
        _ => return,
    };
    let _ = fs::remove_dir_all(place.path(gone));
    fs::create_dir_all(place.path("out")).unwrap();
}

#[test]
fn files_are_whole_after_a_kill_at_any_moment() {
    let seed = number("PRUNELENS_KILL_SEED", 11) as u64;
    let kills = number("PRUNELENS_KILLS", KINDS.len());
    println!("PRUNELENS_KILLS={kills} PRUNELENS_KILL_SEED={seed}");
    let random = &mut StdRng::seed_from_u64(seed);
    for (at, kind) in KINDS.iter().enumerate() {
        let times = kills / KINDS.len() + usize::from(at < kills % KINDS.len());
        let (struck, late) = kill(kind, times, random);
        println!("{}: {times} kills, {struck} in a write, {late} after the end", kind.name);
    }
}

/// What the explorer keeps: prompts, names, views, casts, exports, where it was left, jobs and the index.
#[test]
fn the_explorer_goes_on_after_a_kill_at_any_moment() {
    const STORY: [&str; 12] = [
        "\x1b\x1bnnaval forces\r",
        ":save-view ",
        ":record ",
        "jk",
        "e",
        "m\r",
        "\x1b1 and the sea\r\x1b",
        "]]",
        ":record\r",
        "a\x1b",
        "Mx\x1b",
        "g\x1b",
    ];
    let seed = number("PRUNELENS_KILL_SEED", 11) as u64;
    let times = number("PRUNELENS_KILLS", 20).div_ceil(10);
    let random = &mut StdRng::seed_from_u64(seed);
    let place = place();
    place.write("home/.config/prunelens/keys.toml", "");
    let mut given = Some(place);
    let mut struck = 0;
    for n in 0..=times {
        let place = given.take().unwrap();
        let folders = [place.path("out"), place.path("home")];
        let mut screen =
            Screen::with(place, &["--results", "out", "--prompt", "The army and the navy"], &[], (120, 36));
        screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));
        if n == times {
            // The last one is left in peace.
            screen.keys("\x03");
            screen.ended();
            given = Some(screen.left());
            break;
        }
        let moment = Moment::draw(random, Duration::from_secs(4));
        let before: Vec<PathBuf> = folders.iter().flat_map(|f| below(f)).filter(|path| is_temporary(path)).collect();
        let mut deeds = STORY.iter().cycle();
        let mut said = Instant::now();
        let begun = Instant::now();
        moment.wait(&folders, &before, || {
            if said.elapsed() > Duration::from_millis(30) {
                let deed = deeds.next().unwrap();
                let name = if deed.ends_with(' ') { format!("v{n}\r") } else { String::new() };
                screen.keys(&format!("{deed}{name}"));
                screen.watch(Duration::from_millis(1), |_| ());
                said = Instant::now();
            }
            begun.elapsed() > Duration::from_secs(8)
        });
        screen.signal(libc::SIGKILL);
        let place = screen.killed();
        assert_whole(&place, "the explorer");
        struck += usize::from(folders.iter().flat_map(|f| below(f)).any(|p| is_temporary(&p) && !before.contains(&p)));
        age(&place);
        given = Some(place);
    }
    let place = given.unwrap();
    assert_whole(&place, "the explorer");
    place.run(["doctor"]).done();
    println!("the explorer: {times} kills, {struck} in a write");
}

/// A download that is killed is gone on with, and a revision is remembered whole.
#[test]
fn a_download_goes_on_after_a_kill_at_any_moment() {
    let seed = number("PRUNELENS_KILL_SEED", 11) as u64;
    let times = number("PRUNELENS_KILLS", 20).div_ceil(10);
    let random = &mut StdRng::seed_from_u64(seed);
    let hub = crate::hub::Place::new();
    let place = place();
    let sae = format!("{}/v5_32k_layer_1.pt", crate::hub::SAES);
    let command = || {
        let mut command = place.command();
        command.args(["inspect", "navy", "--json", "--model", crate::hub::MODEL, "--sae", &sae]);
        command.env("HF_HOME", hub.home.path()).env("HF_ENDPOINT", hub.server.endpoint());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let cache = hub.home.path().join("hub");
    let begun = Instant::now();
    assert!(command().status().unwrap().success());
    let time = begun.elapsed();
    let names = || {
        let mut names: Vec<PathBuf> =
            below(&cache).into_iter().filter(|path| !path.to_string_lossy().contains(".lock")).collect();
        names.sort();
        names
    };
    let whole_cache = names().iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>();
    for _ in 0..times {
        fs::remove_dir_all(&cache).unwrap();
        let mut child = command().spawn().unwrap();
        let moment = Moment::At(time.mul_f64(random.random()));
        moment.wait(&[], &[], || child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        for path in names().iter().filter(|path| !path.to_string_lossy().contains(".incomplete") && !is_temporary(path))
        {
            let known = whole_cache.iter().find(|(known, _)| known == path);
            assert_eq!(known.map(|(_, bytes)| bytes), Some(&fs::read(path).unwrap()), "{}", path.display());
        }
        assert!(command().status().unwrap().success());
    }
}
