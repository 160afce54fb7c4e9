//! Long work in small steps, so that whoever drives it can do other things in between.

pub mod core;

use std::path::{Path, PathBuf};

use crate::{error::Result, metrics::MetricTable, model::Tick};

/// Whether a job has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Done,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub struct JobProgress {
    pub done: u64,
    pub total: u64,
    pub unit: &'static str,
    /// What it is doing, for people.
    pub note: String,
}

/// A piece of background work on models and SAEs. Its thread is the one they live on.
pub trait Job {
    /// "core" ...
    fn name(&self) -> &'static str;

    /// Do the next part. `tick` is called every few tens of milliseconds; if it gives an error the part stops with
    /// that error, and the next call takes it up again.
    fn step(&mut self, tick: Tick) -> Result<Step>;

    fn progress(&self) -> JobProgress;

    /// Figures so far.
    fn table(&self) -> MetricTable;

    /// After the last step: write the results below `results` and give the files' paths.
    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>>;
}
