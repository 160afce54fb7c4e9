//! Metrics on labelled texts as jobs.

use std::path::{Path, PathBuf};

use super::{Job, JobProgress, Step};
use crate::{
    error::Result,
    metrics::{
        MetricTable,
        scr_tpp::{Scr, Tpp},
        sparse_probing::SparseProbing,
        texts::{Family, TextMeasurement, TextOptions, report::Layout},
    },
    model::Tick,
    session::Session,
};

pub struct TextJob<F: Family>(TextMeasurement<F>);

/// Prepare the texts and readers; nothing is run yet.
pub fn sparse_probing(session: &Session, options: &TextOptions) -> Result<TextJob<SparseProbing>> {
    TextMeasurement::sparse_probing(session, options).map(TextJob)
}

pub fn tpp(session: &Session, options: &TextOptions) -> Result<TextJob<Tpp>> {
    TextMeasurement::tpp(session, options).map(TextJob)
}

pub fn scr(session: &Session, options: &TextOptions) -> Result<TextJob<Scr>> {
    TextMeasurement::scr(session, options).map(TextJob)
}

impl<F: Family + Layout> Job for TextJob<F> {
    fn name(&self) -> &'static str {
        self.0.run.family().name()
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        Ok(if self.0.run.step(tick)? { Step::More } else { Step::Done })
    }

    fn progress(&self) -> JobProgress {
        let (done, total) = self.0.run.progress();
        JobProgress { done: done as u64, total: total as u64, unit: "tokens", note: self.0.run.note() }
    }

    fn table(&self) -> MetricTable {
        self.0.table()
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
