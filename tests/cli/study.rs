//! `prunelens study init|plan|run|work|status|slurm`: cells are measured once, by one worker or by many, and the same by both.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use crate::support::Place;

/// The demo, compressed in three quick ways; and a session whose text is missing, if `broken`.
fn study(place: &Place, broken: bool) {
    let more = if broken { "[[sessions]]\n[[sessions]]\nname = \"broken\"\ntext = \"missing.txt\"\n" } else { "" };
    let text = format!(
        "{more}[grid]\ncompress = [\"magnitude:0.5\", \"magnitude:0.25\", \"rtn:int8\"]\nratios = [0.25, 0.5]\n\
         [metrics.core]\nrows = 8\nbatch = 4\ncontext = 24\n[metrics.sweep]\nrows = 8\nbatch = 4\ncontext = 24\n"
    );
    place.write("study.toml", text);
}

/// What the cells of a study hold, by their places.
fn cells(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for group in fs::read_dir(folder.join("cells")).unwrap().flatten() {
        for cell in fs::read_dir(group.path()).unwrap().flatten() {
            if let Ok(bytes) = fs::read(cell.path().join("cell.json")) {
                all.insert(cell.path().strip_prefix(folder).unwrap().display().to_string(), bytes);
            }
        }
    }
    all
}

#[test]
fn studies_to_begin_with_are_studies() {
    let place = Place::new();
    for preset in ["demo", "quick", "paper"] {
        place.run(["study", "init", "study.toml", "--force", "--preset", preset]).done();
        if preset == "quick" {
            // Its SAEs are to be put there.
            fs::create_dir_all(place.path("models/gpt2")).unwrap();
            fs::create_dir_all(place.path("saes")).unwrap();
        }
        let plan = place.run(["study", "plan", "study.toml", "--json"]).done().json();
        let groups = plan["groups"].as_array().unwrap();
        let cells = groups.iter().map(|group| group["cells"].as_array().unwrap().len()).sum::<usize>();
        let expected = match preset {
            "demo" => (2, 19),
            "quick" => (12, 24),
            _ => (39, 39 * 5),
        };
        assert_eq!((groups.len(), cells), expected, "{preset}");
    }
    place.run(["study", "init", "study.toml"]).refused(1, &["study.toml", "--force"]);
}

#[test]
fn a_study_is_measured_once_by_one_worker_or_by_several() {
    let place = Place::new();
    study(&place, false);
    let ran = place.run(["study", "run", "study.toml", "--out", "alone"]).done();
    assert!(ran.out.contains("9 cells measured"), "{ran:?}");
    let alone = cells(&place.path("alone"));
    assert_eq!(alone.len(), 9);
    assert!(!place.path("alone/unfinished").read_dir().unwrap().any(|_| true), "nothing is left to go on from");
    let ran = place.run(["study", "run", "study.toml", "--out", "alone"]).done();
    assert!(ran.out.contains("0 cells measured") && ran.out.contains("9 were there"), "{ran:?}");

    // Two workers at the same time, and a third that gets what the second one left: a worker killed in its work.
    place.run(["study", "slurm", "study.toml", "--out", "shared", "--array-limit", "2"]).done();
    let script = fs::read_to_string(place.path("shared/study.sbatch")).unwrap();
    assert!(script.contains("#SBATCH --array=0-2%2"), "{script}");
    let worker = |index: &str| {
        let args = ["study", "work", "shared", "--index", index, "--of", "2", "--threads", "1"];
        place.command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (mut first, mut second) = (worker("0"), worker("1"));
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(first.wait().unwrap().success());
    let ran = place.run(["study", "work", "shared", "--index", "1", "--of", "2"]).done();
    assert!(ran.out.contains("9 of 9 cells are there"), "{ran:?}");
    assert!(cells(&place.path("shared")) == alone, "the same bytes");
    // The second ratio's rows were read with the first's.
    let plan = place.run(["study", "plan", "shared", "--estimate", "--json"]).done().json();
    let passes = |cell: usize| plan["groups"][0]["cells"][cell]["passes"].as_f64().unwrap();
    assert!(passes(1) < passes(0) / 4.0, "{plan}");

    let status = place.run(["study", "status", "shared"]).done();
    assert!(status.out.contains("9 of 9 cells are there, in 3 groups"), "{status:?}");
    place.run(["study", "work", "shared", "--index", "3"]).refused(2, &["--index 3", "from 0 to 2"]);
    place.run(["study", "status", "nowhere"]).refused(1, &["study.json", "study run"]);
}

#[test]
fn other_settings_are_other_cells() {
    let place = Place::new();
    let text = |ratio: &str| {
        format!(
            "[grid]\ncompress = [\"magnitude:0.5\"]\nratios = [{ratio}]\n[metrics.core]\nrows = 4\nbatch = 4\ncontext = 16\n"
        )
    };
    place.write("study.toml", text("0.25"));
    place.run(["study", "run", "study.toml", "--out", "study"]).done();
    place.write("study.toml", text("0.25, 0.5"));
    let ran = place.run(["study", "run", "study.toml", "--out", "study"]).done();
    assert!(ran.out.contains("1 cells measured") && ran.out.contains("1 were there"), "{ran:?}");
}

#[test]
fn one_trained_sae_that_is_gone_stops_no_other_group() {
    let place = Place::new();
    place.write(
        "study.toml",
        "[grid]\ncompress = [\"magnitude:0.5\", \"magnitude:0.25\"]\n[metrics.core]\nrows = 4\nbatch = 4\ncontext = 16\n\
         [train]\ntokens = 2048\nd_sae = 64\nactive = 4\nbatch = 256\ncontext = 32\n",
    );
    let run = || place.run(["study", "run", "study.toml", "--out", "study", "--patience", "0"]);
    assert!(run().done().out.contains("4 cells measured"));
    let mut groups: Vec<_> = fs::read_dir(place.path("study/cells")).unwrap().map(|e| e.unwrap().path()).collect();
    groups.sort_by_key(|group| !group.to_string_lossy().contains("0.5"));
    for (at, group) in groups.iter().enumerate() {
        for cell in fs::read_dir(group).unwrap().flatten() {
            match cell.file_name().to_string_lossy().starts_with("train") {
                false => fs::remove_file(cell.path().join("cell.json")).unwrap(),
                true if at == 0 => fs::remove_dir_all(cell.path().join("saes")).unwrap(),
                true => {}
            }
        }
    }
    let ran = run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("1 cells measured"), "the second group's: {ran:?}");
    assert!(ran.err.contains("1 cells could not be measured") && ran.err.contains("train"), "{ran:?}");
}

#[test]
fn what_fails_stops_nothing_else_and_is_said() {
    let place = Place::new();
    study(&place, true);
    let ran = place.run(["study", "run", "study.toml", "--out", "study", "--patience", "0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("cells could not be measured") && ran.err.contains("missing.txt"), "{ran:?}");
    assert!(ran.out.contains("9 cells measured"), "{ran:?}");
    let status = place.run(["study", "status", "study"]).done();
    assert!(status.out.contains("9 of 18 cells are there, in 6 groups; 9 failed"), "{status:?}");
}

#[test]
fn files_that_are_no_studies_are_refused_by_line_or_name() {
    let place = Place::new();
    for (text, words) in [
        ("", vec!["measures nothing", "metrics.core"]),
        ("[metrics.core]\nrows = 0\n", vec!["[metrics.core]", "rows"]),
        ("[metrics.core]\nbogus = 1\n", vec!["bogus"]),
        ("[metrics.bogus]\n", vec!["bogus", "core"]),
        ("\n[bogus]\n", vec!["line 2", "bogus"]),
        ("[grid]\nratios = [2.0]\n[metrics.core]\n", vec!["[grid]", "ratios", "0.99"]),
        ("[grid]\ncriteria = [\"best\"]\n[metrics.core]\n", vec!["criteria", "best"]),
        ("[grid]\ncompress = [\"bogus:1\"]\n[metrics.core]\n", vec!["bogus:1"]),
        ("[grid]\nseeds = []\n[metrics.core]\n", vec!["seeds is empty"]),
        ("[session]\ncompress = \"wanda:0.5\"\n[metrics.core]\n", vec!["compress", "[grid]"]),
        ("[session]\nknob = \"bits:4\"\n[metrics.core]\n", vec!["knob", "session", "[grid]"]),
        ("[metrics.core]\nknob = \"bits:4\"\n", vec!["[metrics.core]", "knob", "[grid]"]),
        ("[session]\nbogus = 1\n[metrics.core]\n", vec!["session 1", "bogus"]),
        ("[session]\nlayers = \"x\"\n[metrics.core]\n", vec!["layers", "whole numbers"]),
        ("[session]\nsae = \"saes/one\"\nlayers = [1]\n[metrics.core]\n", vec!["{layer}"]),
        ("[[sessions]]\n[[sessions]]\n[metrics.core]\n", vec!["two sessions are called", "demo"]),
        ("[metrics.core]\nratio = 0.5\n", vec!["ratio", "[grid]"]),
        ("[train]\nbogus = 1\n[metrics.core]\n", vec!["[train]", "bogus"]),
        ("[metrics.core]\n[[bounds]]\nmetric = \"core\"\nfigure = \"l0\"\n", vec!["[[bounds]]", "l0", "least"]),
    ] {
        place.write("study.toml", text);
        let ran = place.run(["study", "plan", "study.toml"]);
        assert_ne!(ran.code, Some(0), "{text}");
        words.iter().for_each(|word| assert!(ran.err.contains(word), "{text}: {word}: {ran:?}"));
    }
}
