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
        std::thread::sleep(Duration::from_millis(20));
    }
    made
}

fn simulate(layers: usize, compressions: usize, workers: u64) {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let study = study(folder.path(), layers, compressions);
    let n = study.cells().count();
    println!("{n} cells in {} groups planned in {:.2} s", study.groups.len(), started.elapsed().as_secs_f64());
    let claims = Claims::new(&study.folder, Duration::from_secs(1));
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
    assert_eq!(made.len(), n);
    assert!(made.values().all(|times| *times == 1), "a cell was made twice");
    let started = Instant::now();
    let status = study.status(&claims);
    println!("status in {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(status.iter().map(super::status::GroupStatus::done).sum::<usize>(), n);
    assert!(status.iter().all(|group| group.worker.is_none()));
}

#[test]
fn no_cell_is_made_twice() {
    simulate(4, 6, 8);
}

/// Says what planning and looking take at scale: `cargo test --lib study::simulation -- --ignored --nocapture`.
#[test]
#[ignore = "writes 10,000 files"]
fn no_cell_is_made_twice_at_scale() {
    simulate(50, 50, 200);
}
