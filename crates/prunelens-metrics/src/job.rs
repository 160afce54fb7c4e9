//! A measurement as long work in small steps, so that whoever drives it can do other things in between.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use prunelens_core::{
    error::{Error, Result},
    progress::Tick,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Detail, Metric, MetricTable,
    report::{Identity, ResultFile, RunStamp, write_results},
};

/// Whether a job has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another step follows.
    More,
    /// Only the results have to be written.
    Done,
}

impl Step {
    /// `More` if there is more to do.
    pub fn more_if(more: bool) -> Self {
        if more { Self::More } else { Self::Done }
    }
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub struct JobProgress {
    /// Of `total`.
    pub done: u64,
    /// In the same unit.
    pub total: u64,
    /// What is counted: "tokens", "words".
    pub unit: &'static str,
    /// What it is doing, for people.
    pub note: String,
}

impl JobProgress {
    /// So many of so many, and what is being done.
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

    /// How far it is.
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

    /// The folder of an SAE that it has trained for the session, once it is written: the session takes it up.
    fn trained(&self) -> Option<&Path> {
        None
    }

    /// One job that does the work of both, where they differ in their variants alone and can share what they read.
    fn join(self, _other: Self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// After the last step: the state that each of the jobs joined in it would have, in their order.
    fn states(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![self.state()?])
    }
}

/// The work of a family on variants that are ready to read: what a job on a session is made of.
pub trait Measure {
    /// What its progress counts.
    const UNIT: &'static str;

    /// Do the next part. False when all is done. An error from `tick` loses at most this part, and the next call takes it up
    /// again.
    fn step(&mut self, tick: Tick) -> Result<bool>;

    /// Done, and in all.
    fn progress(&self) -> (usize, usize);

    /// What it is doing, for people.
    fn note(&self) -> String;

    /// Figures so far, with the same names and order from the first part to the last.
    fn table(&self) -> MetricTable;

    /// What else there is to show so far.
    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }

    /// What is done, for [`restore`](Self::restore).
    fn state(&self) -> Result<Vec<u8>>;

    /// Go on from the state of a run over the same data, settings and variants.
    fn restore(&mut self, state: &[u8]) -> Result<()>;

    /// One run over the variants of both, where data and settings are the same and what is read serves all.
    fn join(self, _other: Self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// After the last part: the [`state`](Self::state) of a run over some of the variants alone, given by their places.
    fn state_of(&self, _variants: &[usize]) -> Result<Vec<u8>> {
        self.state()
    }

    /// After the last part: a file for each variant, in their order; `None` for one without a result.
    fn files(&self, identities: &[Identity], stamp: &RunStamp) -> Result<Vec<Option<ResultFile>>>;
}

/// Work on what a session has loaded, with what its models and results are called.
pub struct SessionJob<M> {
    /// The work itself.
    pub run: M,
    /// In the order of the run's variants.
    pub(super) identities: Vec<Identity>,
    /// Rows of the table ahead of the run's own: which models were measured ...
    pub(super) settings: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
    /// How many of the run's variants belong to each of the jobs that were joined.
    pub(super) parts: Vec<usize>,
}

impl<M> SessionJob<M> {
    /// A job by itself.
    pub(super) fn new(run: M, identities: Vec<Identity>, settings: Vec<(String, String)>) -> Self {
        Self { run, parts: vec![identities.len()], identities, settings, warnings: Vec::new() }
    }
}

impl<M: Measure> Job for SessionJob<M>
where
    Self: Metric,
{
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        self.run.step(tick).map(Step::more_if)
    }

    fn progress(&self) -> JobProgress {
        JobProgress::new(self.run.progress(), M::UNIT, self.run.note())
    }

    fn table(&self) -> MetricTable {
        let mut table = self.run.table();
        table.settings.splice(0..0, self.settings.iter().cloned());
        table.warnings.splice(0..0, self.warnings.iter().cloned());
        table
    }

    fn details(&self) -> Vec<Detail> {
        self.run.details()
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.run.restore(state)
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        let files = self.run.files(&self.identities, &RunStamp::now())?;
        write_results(results, self.identities.iter().zip(files).filter_map(|(identity, file)| Some((identity, file?))))
    }

    fn join(self, other: Self) -> Option<Self> {
        Some(Self {
            run: self.run.join(other.run)?,
            identities: [self.identities, other.identities].concat(),
            parts: [self.parts, other.parts].concat(),
            ..self
        })
    }

    fn states(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = 0..self.identities.len();
        let mut state = |variants: &usize| self.run.state_of(&all.by_ref().take(*variants).collect::<Vec<_>>());
        self.parts.iter().map(&mut state).collect()
    }
}

/// A job's state as bytes. Floats keep their bits.
pub fn to_bytes(state: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(state).map_err(|e| Error::invalid(format!("a job's state cannot be written: {e}")))
}

/// What [`to_bytes`] wrote, all of it: bytes that are left are of a state that was written otherwise.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let unreadable =
        |why: &dyn Display| Err(Error::invalid(format!("a job's saved state cannot be read ({why}); start it anew")));
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        Ok((_, rest)) => unreadable(&format!("bytes left over: {}", rest.len())),
        Err(e) => unreadable(&e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_whole_or_not_at_all() {
        let bytes = to_bytes(&(vec![1.5, f64::NAN], 7_u64)).unwrap();
        let (numbers, count): (Vec<f64>, u64) = from_bytes(&bytes).unwrap();
        assert!(numbers[0] == 1.5 && numbers[1].is_nan() && count == 7);
        // As a state without the count would be read, and one with something after it.
        let error = from_bytes::<Vec<f64>>(&bytes).unwrap_err().to_string();
        assert_eq!(error, "a job's saved state cannot be read (bytes left over: 1); start it anew");
        assert!(from_bytes::<(Vec<f64>, u64, u64)>(&bytes).is_err());
    }
}
