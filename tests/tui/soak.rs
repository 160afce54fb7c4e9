//! Random keys in a real terminal for a while: nothing breaks, memory stays flat, and nothing is left behind.
//!
//! `PRUNELENS_SOAK_SECONDS` says for how long (20 unless it is set), `PRUNELENS_SOAK_SEED` which keys (the same at every
//! run unless it is set), and `PRUNELENS_SOAK_SAMPLES` names a file for what was seen of the process, as CSV.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::support::{Place, screen::Screen};

/// Keys a second; what is longer than one key counts as one.
const RATE: u32 = 200;
/// Nobody presses these: they leave the program wherever the focus is.
const KEYS: &str = r#"
quit = ["ctrl-x"]
quit-from-prompt = ["ctrl-x"]
quit-now = ["ctrl-x"]
suspend = ["ctrl-y"]
confirm-quit = ["ctrl-x"]
confirm-drop = ["ctrl-y"]
"#;

/// Single keys: what actions have, and letters of a prompt. `e`, `m` and `R`, which leave something each time, come less often.
const LETTERS: &[u8] = b"hjkloOwdxXsnpgvbcC[]{}0,.;P|\\/<>GEt?123456789MaATiLyrKJNfFVuSI~ :q";
const SPECIAL: [&str; 23] = [
    "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1b[F", "\x1b[5~", "\x1b[6~", "\x1b[Z", "\x1b[3~", "\t", "\r",
    "\x1b", "\x1b", "\x7f", "\x0c", "\x04", "\x15", "\x0f", "\x0e", "\x12", "\n", "\x10",
];
const TEXTS: [&str; 6] = [
    "The army and the navy",
    "日本語 🦊 e\u{301}",
    "a\tb",
    "\x1b[200~pasted \x1b[31m\x07 text\nof two lines\x1b[201~",
    "The king of Spain and the queen",
    "\x15",
];
/// What takes several keys: back to the panels first.
const DEEDS: [&str; 8] = [
    "\x1b\x1b\x1bMx",
    "\x1b\x1b\x1bMp",
    "\x1b\x1b\x1b:theme\r",
    "\x1b\x1b\x1bg",
    "\x1b\x1b\x1b;",
    "\x1b\x1b\x1b1\x0cThe army and the navy of the United States are\r",
    "\x07",
    "\x13",
];
/// What leaves something: jobs, files, other sessions.
const LASTING: [&str; 9] = [
    "\x1b\x1b\x1bm\r",
    "\x1b\x1b\x1bm\x1b[C\r",
    "\x1b\x1b\x1ba\r\r",
    "\x1b\x1b\x1b:open --compress magnitude:0.3\r",
    "\x1b\x1b\x1b:open --criterion random\r",
    "\x1b\x1b\x1b:open nowhere\r\x1b",
    "\x1b\x1b\x1b:record\r",
    "\x1b\x1b\x1be",
    "\x1b\x1b\x1b:save-view v\r",
];

/// What somebody does next.
enum Deed {
    Keys(String),
    Resize(u16, u16),
}

fn next(random: &mut StdRng, size: (u16, u16)) -> Deed {
    let pick = |random: &mut StdRng, all: &[&str]| (*all.choose(random).expect("there are some")).to_owned();
    Deed::Keys(match random.random_range(0..1000) {
        0..3 => {
            // In one column the emulator of these tests, not the program, goes wrong at wide characters.
            let sizes = [(120, 36), (80, 24), (200, 60), (100, 30), (60, 16), (40, 10), (2, 2)];
            let (columns, rows) = *sizes.choose(random).expect("there are some");
            return Deed::Resize(columns, rows);
        }
        3..23 => pick(random, &DEEDS),
        // One in two seconds.
        23..26 => pick(random, &LASTING),
        26..60 => {
            let (x, y) = (random.random_range(1..=size.0), random.random_range(1..=size.1));
            let button = *[0, 0, 32, 64, 65].choose(random).expect("there are some");
            format!("\x1b[<{button};{x};{y}M\x1b[<0;{x};{y}m")
        }
        60..80 => pick(random, &TEXTS),
        80..350 => pick(random, &SPECIAL),
        _ => char::from(*LETTERS.choose(random).expect("there are some")).to_string(),
    })
}

/// What the system knows of a process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Since its process began.
    seconds: f64,
    /// Memory that no file stands behind.
    bytes: f64,
    files: usize,
    threads: usize,
}

fn sample(id: u32, seconds: f64) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let number = |key: &str| -> Option<f64> {
        status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
    };
    Some(Sample {
        seconds,
        bytes: number("RssAnon:")? * 1024.0,
        files: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count(),
        threads: number("Threads:")? as usize,
    })
}

/// Processes of a session or born by a process, but that process itself.
fn offspring(id: u32) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("the system's processes").flatten();
    let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let own = |stat: &String| {
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        // The parent and the session are the fields 4 and 6.
        let related = [1, 3].iter().any(|at| fields.get(*at).is_some_and(|field| *field == id.to_string()));
        related && !stat.starts_with(&format!("{id} "))
    };
    stats.filter(own).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Growth over the time of the samples by the line through them, and how far they are from it.
fn line(samples: &[Sample]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / n;
    let (t, y) = (mean(&|s| s.seconds), mean(&|s| s.bytes));
    let slope = mean(&|s| (s.seconds - t) * (s.bytes - y)) / mean(&|s| (s.seconds - t).powi(2));
    let noise = mean(&|s| (s.bytes - y - slope * (s.seconds - t)).powi(2)).sqrt();
    let time = samples.last().map_or(0.0, |s| s.seconds) - samples.first().map_or(0.0, |s| s.seconds);
    (slope * time, noise)
}

fn variable<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

/// A program in a place of its own, with folders for temporary files and results there.
fn start(place: Place) -> Screen {
    let (temporary, results) = (place.path("tmp"), place.path("results"));
    fs::create_dir_all(&temporary).unwrap();
    let args = ["--results", results.to_str().unwrap(), "--prompt", "The army and the navy of the United States are"];
    let mut screen = Screen::with(place, &args, &[("TMPDIR", temporary.to_str().unwrap())], (120, 36));
    screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));
    screen
}

#[test]
fn random_keys_break_nothing_and_leave_nothing() {
    let seconds: u64 = variable("PRUNELENS_SOAK_SECONDS", 20);
    let seed: u64 = variable("PRUNELENS_SOAK_SEED", 7);
    println!("PRUNELENS_SOAK_SECONDS={seconds} PRUNELENS_SOAK_SEED={seed}");
    let random = &mut StdRng::seed_from_u64(seed);
    let place = Place::new();
    place.write("home/.config/prunelens/keys.toml", KEYS);
    let mut screen = start(place);
    let (begun, mut size) = (Instant::now(), (120, 36));
    // Of each process: one that has begun anew takes its memory anew.
    let (mut samples, mut since, mut sent) = (vec![Vec::new()], begun, 0_u64);
    let mut last = String::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        match next(random, size) {
            Deed::Keys(keys) => {
                screen.keys(&keys);
                last = keys;
            }
            Deed::Resize(columns, rows) => {
                size = (columns, rows);
                screen.resize(columns, rows);
            }
        }
        sent += 1;
        // Keys come at their rate; where the program was slow to take them, those that are late come at once.
        let due = Duration::from_secs(sent / u64::from(RATE)) + Duration::from_secs(sent % u64::from(RATE)) / RATE;
        screen.watch(due.saturating_sub(begun.elapsed()), |_| ());
        let said = String::from_utf8_lossy(&screen.sent);
        assert!(!said.contains("panicked") && !said.contains("The engine stopped"), "after {sent} keys:\n{said}");
        screen.sent.clear();
        if let Some(status) = screen.has_ended() {
            // By the palette, for instance.
            assert!(status.success(), "{status:?} after {sent} keys, {last:?} the last");
            screen = start(screen.left());
            size = (120, 36);
            samples.push(Vec::new());
            since = Instant::now();
        }
        if sent.is_multiple_of(u64::from(RATE) / 4) {
            let of_this = samples.last_mut().expect("there is one process at least");
            of_this.extend(sample(screen.id(), since.elapsed().as_secs_f64()));
        }
    }
    let id = screen.id();
    let children = offspring(id);
    screen.signal(libc::SIGTERM);
    assert_eq!(screen.ended().exit_code(), 128 + libc::SIGTERM as u32);
    let place = screen.left();
    report(&samples, sent);
    assert!(children.is_empty() && offspring(id).is_empty(), "{children:?}, then {:?}", offspring(id));
    assert_tidy(&place);
    let longest = samples.iter().max_by_key(|samples| samples.len()).expect("there is one process at least");
    assert_flat(longest);
}

fn report(samples: &[Vec<Sample>], sent: u64) {
    let mut csv = "process,seconds,bytes,files,threads\n".to_owned();
    for (process, samples) in samples.iter().enumerate() {
        for Sample { seconds, bytes, files, threads } in samples {
            writeln!(csv, "{process},{seconds:.2},{bytes},{files},{threads}").unwrap();
        }
    }
    if let Some(path) = std::env::var_os("PRUNELENS_SOAK_SAMPLES") {
        fs::write(path, csv).unwrap();
    }
    let most = samples.iter().flatten().map(|s| s.bytes).fold(0.0, f64::max);
    let (processes, last) = (samples.len(), samples.iter().flatten().last());
    println!("{sent} keys, {processes} processes, at most {:.0} MB; at the end {last:?}", most / 1e6);
}

/// After a time to warm up in, memory, open files and threads are no more at the end than before.
fn assert_flat(samples: &[Sample]) {
    let samples = &samples[samples.len() * 2 / 5..];
    let (growth, noise) = line(samples);
    println!("memory grew by {:.1} MB over the later part; {:.1} MB up and down", growth / 1e6, noise / 1e6);
    // It takes the allocator's arenas some minutes to be as large as they get.
    let slack = if samples.last().is_some_and(|s| s.seconds < 300.0) { 48e6 } else { 16e6 };
    assert!(growth < 2.0 * noise + slack, "memory grows: {growth} bytes, {noise} up and down");
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |part: &[Sample], of: fn(&Sample) -> usize| part.iter().map(of).max().unwrap_or_default();
    for (what, of) in [("files", (|s| s.files) as fn(&Sample) -> usize), ("threads", |s| s.threads)] {
        let (before, after) = (most(first, of), most(second, of));
        assert!(after <= before + 3, "open {what} grow: {before}, then {after}");
    }
}

/// Nothing temporary is left, and what was written is whole.
fn assert_tidy(place: &Place) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for path in files_below(&place.path("")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let temporary = name.starts_with(".prunelens-") || ["tmp", "lock"].contains(&extension);
        assert!(!temporary && !path.starts_with(place.path("tmp")), "{} is left", path.display());
        let text = || fs::read_to_string(&path).unwrap();
        let whole = match extension {
            "json" => serde_json::from_str::<serde_json::Value>(&text()).is_ok(),
            "jsonl" | "cast" => text().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
            "toml" => toml::from_str::<toml::Table>(&text()).is_ok(),
            "svg" => text().trim_end().ends_with("</svg>"),
            "log" => !text().contains("panicked"),
            _ => true,
        };
        assert!(whole, "{} is not whole:\n{}", path.display(), text());
        *kinds.entry(extension.to_owned()).or_default() += 1;
    }
    println!("files by extension: {kinds:?}");
}
