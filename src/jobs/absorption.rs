//! The absorption metric of a session as a job.

use std::path::{Path, PathBuf};

use super::{Job, JobProgress, Step};
use crate::{
    error::Result,
    metrics::{
        Detail, MetricTable,
        absorption::setup::{AbsorptionMeasurement, AbsorptionOptions},
    },
    model::Tick,
    session::Session,
};

pub struct AbsorptionJob(AbsorptionMeasurement);

impl AbsorptionJob {
    /// Prepare the readers; words are chosen in the first step.
    pub fn new(session: &Session, options: &AbsorptionOptions) -> Result<Self> {
        AbsorptionMeasurement::new(session, options).map(Self)
    }
}

impl Job for AbsorptionJob {
    fn name(&self) -> &'static str {
        "absorption"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        Ok(if self.0.run.step(tick)? { Step::More } else { Step::Done })
    }

    fn progress(&self) -> JobProgress {
        let (done, total) = self.0.run.progress();
        JobProgress { done: done as u64, total: total as u64, unit: "prompts", note: self.0.run.note() }
    }

    fn table(&self) -> MetricTable {
        self.0.table()
    }

    fn details(&self) -> Vec<Detail> {
        self.0.run.details()
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.0.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0.run.restore(state)
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        self.0.write(results)
    }
}
