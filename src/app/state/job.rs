//! A piece of background work as the screen knows it.

use std::sync::Arc;

use crate::{
    engine::{JobId, JobSpec, JobState},
    metrics::MetricTable,
};

#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub spec: JobSpec,
    pub state: JobState,
    /// What it measured so far.
    pub table: Option<Arc<MetricTable>>,
}

impl Job {
    pub fn is_running(&self) -> bool {
        matches!(self.state, JobState::Running { .. })
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, JobState::Done { .. } | JobState::Failed(_) | JobState::Cancelled)
    }

    /// Share done, 0 to 1, where known.
    pub fn share(&self) -> Option<f64> {
        match self.state {
            JobState::Running { done, total, .. } if total > 0 => Some((done as f64 / total as f64).min(1.0)),
            _ => None,
        }
    }

    /// Seconds left at the pace so far; unknown at the very beginning.
    pub fn seconds_left(&self) -> Option<f64> {
        match self.state {
            JobState::Running { done, total, seconds, .. } if done > 0 && total >= done => {
                Some(seconds * (total - done) as f64 / done as f64)
            }
            _ => None,
        }
    }
}
