//! A job in the queue: what it is, how far it is, and its checkpoint.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prunelens_core::{
    error::Result,
    session::{Session, SessionSpec},
};
use prunelens_metrics::{Family, Job, JobSpec, Keeper, Store};

use super::JobId;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Ready,
    Paused,
    /// All is measured; the results could not be written.
    Unwritten,
}

pub struct Entry {
    pub id: JobId,
    pub spec: JobSpec,
    /// With what was changed to make it fit into memory.
    pub fitted: JobSpec,
    pub phase: Phase,
    /// What was measured already is of no use.
    pub anew: bool,
    /// The session that it was started in, which is in memory for it where another is on screen.
    pub of: Arc<SessionSpec>,
    pub at: Option<Arc<Session>>,
    /// Made when its turn comes; away while it is being worked on.
    pub job: Option<Box<dyn Job>>,
    pub keeper: Option<Keeper>,
    /// Time of work, that of earlier processes too; the user's own requests in between are not counted.
    pub worked: Duration,
    /// Nothing is left to do but to write the results.
    pub finished: bool,
    pub told: Option<Instant>,
    pub told_table: Option<Instant>,
}

impl Entry {
    pub fn new(id: JobId, spec: JobSpec, of: Arc<SessionSpec>, anew: bool) -> Self {
        Self {
            id,
            fitted: spec.clone(),
            spec,
            phase: Phase::Ready,
            anew,
            of,
            at: None,
            job: None,
            keeper: None,
            worked: Duration::ZERO,
            finished: false,
            told: None,
            told_table: None,
        }
    }

    /// Take the job's checkpoint for this process, once.
    pub fn claim(&mut self, families: &[Family], store: &Store, session: &Session) -> Result<()> {
        if self.keeper.is_none() {
            let claim = store.checkpoints().claim(self.spec.family(families)?, &self.spec, session)?;
            self.keeper = Some(Keeper::new(claim, self.fitted.clone(), store.every));
        }
        Ok(())
    }

    pub fn keep_now(&mut self) -> Result<()> {
        let seconds = self.worked.as_secs_f64();
        self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.keep_now(self.job.as_deref(), seconds, self.finished))
    }

    /// Begin anew with other parameters.
    pub fn refit(&mut self, fitted: JobSpec) -> Result<()> {
        self.fitted = fitted.clone();
        self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.refit(fitted))
    }
}
