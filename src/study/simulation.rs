//! Many workers on many cells, without models: some die, and no result is made twice.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use prunelens_metrics::MetricTable;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Cell, Group, Origin, Study, StudyFile, cells,
    claim::Claims,
    plan::{CELL, Figures},
};

/// Of so many layers, each compressed in so many ways, with four cells a group.
fn study(folder: &Path, layers: usize, compressions: usize) -> Study {
    fs::create_dir_all(folder.join("saes")).unwrap();
    let compress: Vec<String> = (1..=compressions).map(|n| format!("\"magnitude:{}\"", n as f64 / 100.0)).collect();
    let text = format!(
        "[session]\nsae = \"saes/layer{{layer}}\"\nlayers = \"0-{}\"\n[grid]\ncompress = [{}]\nratios = [0.25, 0.5, 0.75]\n\
         [metrics.core]\n[metrics.sweep]\n",
        layers - 1,
        compress.join(", ")
    );
    let origin = Origin { file: folder.join("study.toml"), folder: folder.to_path_buf(), text };
    Study::new(StudyFile::parse(origin).unwrap(), &folder.join("study"), &|_| None).unwrap()
}

/// A worker that takes what nobody works on until nothing is left, and dies now and then. Gives the names of what it made.
fn work(study: &Study, claims: &Claims, seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = Vec::new();
    let mut left: Vec<&Group> = study.groups.iter().collect();
    left.rotate_left(rng.random_range(0..study.groups.len()));
    while !left.is_empty() {
        left.retain(|group| !group.cells.iter().all(Cell::is_done));
        for group in &left {
            let Some(claim) = claims.take(&group.name).unwrap() else { continue };
            for cell in group.cells.iter().filter(|cell| !cell.is_done()) {
                if rng.random_bool(0.02) {
                    claim.die();
                    // Another process goes on in its place.
                    made.extend(work(study, claims, rng.random()));
                    return made;
                }
                let figures = Figures {
                    place: group.place.clone(),
                    device: "cpu".into(),
                    job: cell.job.clone(),
                    table: MetricTable::default(),
                    details: Vec::new(),
                };
                assert!(claim.is_held());
                cells::write(&cell.folder.join(CELL), &cell.of, &figures).unwrap();
                made.push(cell.folder.display().to_string());
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    made
}

fn simulate(layers: usize, compressions: usize, workers: u64, lease: u64) {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let study = study(folder.path(), layers, compressions);
    study.keep().unwrap();
    let n = study.cells().count();
    println!("{n} cells in {} groups planned in {:.2} s", study.groups.len(), started.elapsed().as_secs_f64());
    let claims = Claims::new(&study.folder, Duration::from_secs(lease));
    let made: Mutex<HashMap<String, usize>> = Mutex::default();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for seed in 0..workers {
            let (study, claims, made) = (&study, &claims, &made);
            scope.spawn(move || {
                for name in work(study, claims, seed) {
                    *made.lock().unwrap().entry(name).or_default() += 1;
                }
            });
        }
    });
    println!("made by {workers} workers in {:.1} s", started.elapsed().as_secs_f64());
    let made = made.into_inner().unwrap();
    println!("{} cells made twice", made.values().filter(|times| **times > 1).count());
    assert_eq!(made.len(), n);
    assert!(made.values().all(|times| *times == 1), "a cell was made twice");
    let started = Instant::now();
    let status = study.status(&claims);
    println!("status in {:.2} s", started.elapsed().as_secs_f64());
    look(&study.folder, n);
    println!("at most {} of memory", peak());
    assert_eq!(status.iter().map(super::status::GroupStatus::done).sum::<usize>(), n);
    assert!(status.iter().all(|group| group.worker.is_none()));
}

/// The explorer's way: opened once, then looked at again and again.
fn look(folder: &Path, n: usize) {
    let started = Instant::now();
    let mut watch = super::watch::Watch::open(folder, &|_| None).unwrap();
    let opened = started.elapsed().as_secs_f64();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watch.look((0, 0)));
    }
    let took: Vec<String> = seen.iter().map(|seen| format!("{:.3}", seen.took.as_secs_f64())).collect();
    println!("opened to be looked at in {opened:.2} s, looks in {} s", took.join(", "));
    assert_eq!(seen[2].overview.counts().done, n);
    assert!(std::sync::Arc::ptr_eq(&seen[0].overview, &seen[2].overview), "nothing has changed");
}

/// What this process has held at most, as Linux says.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "an unknown amount".into(), |line| line.trim().to_owned())
}

#[test]
fn no_cell_is_made_twice() {
    simulate(4, 6, 8, 2);
}

/// Says what planning and looking take at scale: `cargo test --lib study::simulation -- --ignored --nocapture`.
#[test]
#[ignore = "writes 10,000 files"]
fn no_cell_is_made_twice_at_scale() {
    // Two hundred threads share few processors here: a sign of life may take a while.
    simulate(50, 50, 200, 20);
}
