//! A measurement as long work in small steps, so that whoever drives it can do other things in between.

use std::path::{Path, PathBuf};

use prunelens_core::{
    error::{Error, Result},
    model::Tick,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Detail, MetricTable};

/// Whether a job has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Done,
}

impl Step {
    pub fn more_if(more: bool) -> Self {
        if more { Self::More } else { Self::Done }
    }
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

impl JobProgress {
    pub fn new((done, total): (usize, usize), unit: &'static str, note: String) -> Self {
        Self { done: done as u64, total: total as u64, unit, note }
    }

    /// Share done, 0 to 1.
    pub fn share(&self) -> f64 {
        (self.done as f64 / self.total.max(1) as f64).min(1.0)
    }
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

    /// What else there is to show so far: tables and lines.
    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }

    /// Everything that [`restore`](Self::restore) needs to go on from here in another process. Asked between steps only.
    fn state(&self) -> Result<Vec<u8>>;

    /// Take up a state of a job made from the same session and options. What it gives in the end is, on the CPU, the same
    /// to the bit as without the break.
    fn restore(&mut self, state: &[u8]) -> Result<()>;

    /// After the last step: write the results below `results` and give the files' paths.
    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>>;
}

/// A job's state as bytes. Floats keep their bits.
pub fn to_bytes(state: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(state).map_err(|e| Error::invalid(format!("a job's state cannot be written: {e}")))
}

/// What [`to_bytes`] wrote.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes)
        .map_err(|e| Error::invalid(format!("a job's saved state cannot be read ({e}); start it anew")))
}
