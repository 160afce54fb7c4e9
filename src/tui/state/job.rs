//! Background work and earlier runs as the screen knows them.

use std::{sync::Arc, time::Duration};

use prunelens_core::session::SessionSpec;
use prunelens_metrics::{Detail, MetricTable, Run};

use crate::engine::{JobId, JobSpec, JobState};

#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub spec: JobSpec,
    pub state: JobState,
    /// What it measured so far.
    pub table: Option<Arc<MetricTable>>,
    pub details: Arc<Vec<Detail>>,
    /// What its state does not say: a smaller batch, where it goes on from.
    pub remarks: Vec<String>,
    /// Of which session.
    pub of: Arc<SessionSpec>,
    /// What that is called, where another is on screen.
    pub session: Option<String>,
}

impl Job {
    /// Of the session on screen.
    pub fn new(id: JobId, spec: JobSpec, of: Arc<SessionSpec>, state: JobState) -> Self {
        Self { id, spec, state, table: None, details: Arc::default(), remarks: Vec::new(), of, session: None }
    }

    /// Whether its session is the one on screen.
    pub fn is_here(&self) -> bool {
        self.session.is_none()
    }

    /// It goes on where it was left, when it is started again.
    pub fn can_go_on(&self) -> bool {
        !self.is_over() || matches!(self.state, JobState::Interrupted(_))
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, JobState::Running { .. })
    }

    /// The engine works on it, or will without being told.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, JobState::Queued | JobState::Running { .. })
    }

    /// The engine has nothing more of it.
    pub fn is_over(&self) -> bool {
        use JobState as S;
        matches!(self.state, S::Done { .. } | S::Failed(_) | S::Cancelled | S::Interrupted(_))
    }

    /// Share done, 0 to 1, where known.
    pub fn share(&self) -> Option<f64> {
        match self.state {
            JobState::Running { done, total, .. } if total > 0 => Some((done as f64 / total as f64).min(1.0)),
            JobState::Paused(share) | JobState::Interrupted(share) => Some(share),
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

/// Runs of earlier, with those that were opened here before them, and when "now" was when they were read, in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub runs: Arc<Vec<Run>>,
    /// When they were looked for: milliseconds since 1970, and since the start.
    pub looked: (u64, Duration),
    /// Results of studies.
    pub opened: Vec<Arc<Run>>,
}

impl Past {
    /// Milliseconds since 1970 at a time since the start.
    pub fn clock(&self, now: Duration) -> u64 {
        let (then, at) = self.looked;
        then + now.saturating_sub(at).as_millis() as u64
    }

    pub fn len(&self) -> usize {
        self.opened.len() + self.runs.len()
    }

    pub fn get(&self, at: usize) -> Option<&Run> {
        self.opened.get(at).map(|run| &**run).or_else(|| self.runs.get(at.checked_sub(self.opened.len())?))
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row of the list: a job of this session, or an earlier run.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'a> {
    Job(&'a Job),
    Run(&'a Run),
}

impl<'a> Chosen<'a> {
    pub fn spec(self) -> &'a JobSpec {
        match self {
            Self::Job(job) => &job.spec,
            Self::Run(run) => &run.spec,
        }
    }

    pub fn table(self) -> Option<&'a MetricTable> {
        match self {
            Self::Job(job) => job.table.as_deref(),
            Self::Run(run) => Some(&run.table),
        }
    }

    pub fn details(self) -> &'a [Detail] {
        match self {
            Self::Job(job) => &job.details,
            Self::Run(run) => &run.details,
        }
    }

    /// What it was measured on, if that was not the session at hand.
    pub fn session(self) -> Option<&'a str> {
        match self {
            Self::Job(job) => job.session.as_deref(),
            Self::Run(run) => Some(&run.session),
        }
    }
}
