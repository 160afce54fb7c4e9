//! A disk that is full: 4 MB of memory mounted as one. Where that may not be done (it takes root, and Linux) this says so and
//! tries nothing.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    killed::whole::{below, is_temporary, whole},
    support::{Place, Ran, screen::Screen},
};

struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Place) -> Option<Self> {
        let at = place.path("disk");
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&at).output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(at));
        }
        eprintln!("skipped: no file system can be mounted here");
        None
    }

    /// All but so many bytes of what is left.
    fn fill(&self, room: usize) {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(room as u64)).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    /// What it holds, by name.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> =
            below(&self.0).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.retain(|(path, _)| !path.ends_with("ballast") && path.extension().is_none_or(|e| e != "lock"));
        files.sort();
        files
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn assert_whole(folder: &Path) {
    for path in below(folder).iter().filter(|path| !path.ends_with("ballast")) {
        assert!(!is_temporary(path), "{} is left", path.display());
        whole(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
}

/// What is written there, twice with different contents.
const WRITERS: [(&str, &str, &str); 6] = [
    (
        "metrics core --rows 8 --context 24 --batch 4 --variants original --results disk",
        "metrics core --rows 12 --context 24 --batch 4 --variants original --results disk",
        "not saved",
    ),
    (
        "metrics atlas --rows 4 --context 24 --batch 4 --out disk",
        "metrics atlas --rows 5 --context 24 --batch 4 --out disk",
        "not saved",
    ),
    ("inspect navy --save disk/prompt.safetensors", "inspect army --save disk/prompt.safetensors --force", "not saved"),
    (
        "session init disk/session.toml",
        "session init disk/session.toml --force --preset gpt2-small/resid/8",
        "not saved",
    ),
    ("render --keys 'The army<wait>' --out disk/a.svg", "render --keys 'The navy<wait>' --out disk/a.svg", "not saved"),
    (
        "prune sae --ratio 0.5 --out disk/sae",
        "prune sae --ratio 0.25 --out disk/sae --force",
        "nothing there has changed",
    ),
];

#[test]
fn a_full_disk_keeps_what_it_holds() {
    for (first, second, words) in WRITERS {
        let place = Place::new();
        let Some(disk) = Disk::mount(&place) else { return };
        let run = |line: &str| Ran::from(place.command().args(shell_words::split(line).unwrap()).output().unwrap());
        run(first).done();
        let old = disk.files();
        for room in [0, 4096] {
            disk.fill(room);
            let ran = run(second);
            assert_eq!(ran.code, Some(1), "{second}: {ran:#?}");
            assert!(ran.err.contains(words) && !ran.err.contains("panicked"), "{second}: {ran:#?}");
            assert_whole(&disk.0);
            // Results that say something else are kept under another name.
            let texts = |files: Vec<(PathBuf, Vec<u8>)>| {
                let mut all: Vec<_> = files.into_iter().map(|(_, bytes)| bytes).collect();
                all.sort();
                all
            };
            let (now, kept) = (texts(disk.files()), texts(old.clone()));
            assert!(kept.iter().all(|bytes| now.contains(bytes)), "{second}: something of the old is lost");
            disk.empty();
        }
        let ran = run(second);
        assert_eq!(ran.code, Some(0), "{second}, with room again: {ran:#?}");
        assert_whole(&disk.0);
    }
}

/// State, cache and log have no room: the work is done all the same.
#[test]
fn a_full_home_stops_nothing() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place) else { return };
    disk.fill(0);
    let mut command = place.command();
    command.args(["inspect", "navy", "--json"]).env("HOME", disk.0.join("home"));
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.json();
    let mut command = place.command();
    command.args(["metrics", "core", "--rows", "8", "--context", "24", "--results", "results"]);
    let ran = Ran::from(command.env("HOME", disk.0.join("home")).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(place.path("results/core").is_dir());
}

#[test]
fn the_explorer_says_what_a_full_disk_did_not_take() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place) else { return };
    let mut screen = Screen::with(place, &["--results", "disk", "--prompt", "The army and the navy"], &[], (120, 36));
    screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));
    screen.keys("\t:record it\r");
    screen.wait_for("recording");
    disk.fill(4096);
    screen.keys("e");
    screen.wait_for("not saved");
    screen.keys(":save-view here\r");
    screen.wait_for("not saved");
    // Frames until there is no room.
    for n in 0..40 {
        screen.keys(["?", "\x1b", "]", "["][n % 4]);
        screen.watch(std::time::Duration::from_millis(40), |_| ());
    }
    screen.wait("the recording's end", |s| !s.contains("● recording"));
    screen.keys("L");
    screen.wait_for("the recording ends here");
    screen.keys("\x03");
    screen.ended();
    let place = screen.left();
    assert_whole(&disk.0);
    assert!(disk.files().iter().any(|(path, _)| path.ends_with("it.cast")));
    drop(disk);
    drop(place);
}
