//! A sweep over ratios, criteria and layers as a job.

use std::path::{Path, PathBuf};

use super::{Job, JobProgress, Step};
use crate::{
    error::Result,
    metrics::{
        Detail, MetricTable,
        sweep::setup::{SweepMeasurement, SweepOptions},
    },
    model::Tick,
    session::Session,
};

pub struct SweepJob(SweepMeasurement);

impl SweepJob {
    /// Prepare the rows; weights are ranked in the first step.
    pub fn new(session: &Session, options: &SweepOptions) -> Result<Self> {
        SweepMeasurement::new(session, options).map(Self)
    }
}

impl Job for SweepJob {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        Ok(if self.0.step(tick)? { Step::More } else { Step::Done })
    }

    fn progress(&self) -> JobProgress {
        let (done, total) = self.0.progress();
        JobProgress { done: done as u64, total: total as u64, unit: "tokens", note: self.0.note() }
    }

    fn table(&self) -> MetricTable {
        self.0.table()
    }

    fn details(&self) -> Vec<Detail> {
        self.0.details()
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.0.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0.restore(state)
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        self.0.write(results)
    }
}
