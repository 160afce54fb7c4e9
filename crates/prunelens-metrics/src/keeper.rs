//! Saving a running job now and then without making it, or the user, wait for the disk.

use std::{
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use prunelens_core::{
    error::{Error, Result},
    session::Session,
};

use super::{Claim, Family, Job, JobSpec, Run, checkpoint::SavedProgress, fingerprint};

/// One part of so many, of the time, may go into putting states together.
pub const SHARE: u32 = 20;

/// Where unfinished jobs and finished runs are kept, and how often.
#[derive(Clone, Debug)]
pub struct Store {
    /// The program's state folder.
    pub folder: std::path::PathBuf,
    /// Time between two checkpoints of a job.
    pub every: Duration,
    /// Whether a lock keeps other processes from a job; not where something else does, on file systems without locks.
    pub locked: bool,
}

/// Often enough that a crash costs little.
pub const EVERY: Duration = Duration::from_secs(10);

impl Store {
    /// In the program's state folder.
    pub fn new(folder: impl Into<std::path::PathBuf>) -> Self {
        Self { folder: folder.into(), every: EVERY, locked: true }
    }

    /// States of unfinished jobs.
    pub fn checkpoints(&self) -> super::Checkpoints {
        super::Checkpoints::new(self.folder.join("jobs"), self.locked)
    }

    /// Finished runs.
    pub fn runs(&self) -> super::Runs {
        super::Runs::new(self.folder.join("runs"))
    }

    /// The run of a job that was measured to its end, with its files below `results`; none where it was begun anew since, and goes on.
    pub fn measured(&self, family: &Family, spec: &JobSpec, session: &Session, results: &Path) -> Option<Run> {
        let run = self.runs().done(&fingerprint::of_job(family, spec, session), results)?;
        self.checkpoints().of(session).known(family, spec).is_none().then_some(run)
    }
}

/// Looks after the checkpoint of one running job.
pub struct Keeper {
    claim: Arc<Claim>,
    /// With what was changed to make it fit.
    fitted: JobSpec,
    every: Duration,
    next: Instant,
    writing: Option<JoinHandle<Result<()>>>,
}

/// A job taken up again.
pub struct Earlier {
    /// With its state restored.
    pub job: Box<dyn Job>,
    /// How far it was, 0 to 1, and the time of work until then.
    pub share: f64,
    /// Time that went into it before.
    pub worked: Duration,
    /// Only its results have to be written.
    pub finished: bool,
}

impl Keeper {
    /// For one job, saved once in so long a time.
    pub fn new(claim: Claim, fitted: JobSpec, every: Duration) -> Self {
        Self { claim: Arc::new(claim), fitted, every, next: Instant::now() + every, writing: None }
    }

    /// Save if it is time to: from a thread of its own. An error is one of an earlier save; the job need not care.
    pub fn keep(&mut self, job: &dyn Job, seconds: f64) -> Result<()> {
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || Instant::now() < self.next {
            return Ok(());
        }
        let earlier = self.wait();
        let (started, state) = (Instant::now(), job.state()?);
        self.next = Instant::now() + self.every.max(started.elapsed() * SHARE);
        let (claim, fitted) = (self.claim.clone(), self.fitted.clone());
        let known = SavedProgress { share: job.progress().share(), seconds, finished: false };
        let write = move || claim.save(&fitted, known, &state);
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(write);
        self.writing = Some(thread.map_err(|e| Error::invalid(format!("cannot start a thread: {e}")))?);
        earlier
    }

    /// Save before the work ends, or when it is finished and only the results are missing. A job that has not begun is saved
    /// as such.
    pub fn keep_now(&mut self, job: Option<&dyn Job>, seconds: f64, finished: bool) -> Result<()> {
        // What is written now is newer, whatever became of the other.
        let _ = self.wait();
        match job {
            Some(job) => {
                let known = SavedProgress { share: job.progress().share(), seconds, finished };
                self.claim.save(&self.fitted, known, &job.state()?)
            }
            None if self.claim.load().is_ok_and(|saved| saved.is_some()) => Ok(()),
            None => self.claim.save(&self.fitted, SavedProgress { share: 0.0, seconds, finished: false }, &[]),
        }
    }

    /// The job as an earlier process left it; `None` where none did, or before it had begun.
    pub fn take_up(&mut self, families: &[Family], session: &Session) -> Result<Option<Earlier>> {
        self.take_up_as(|fitted| fitted.make(families, session))
    }

    /// The same with a job that is made otherwise than by its name and parameters.
    pub fn take_up_as(&mut self, make: impl FnOnce(&JobSpec) -> Result<Box<dyn Job>>) -> Result<Option<Earlier>> {
        let Some(saved) = self.claim.load()?.filter(|saved| !saved.state.is_empty()) else { return Ok(None) };
        let mut job = make(&saved.header.fitted)?;
        job.restore(&saved.state)?;
        self.fitted = saved.header.fitted;
        let worked = Duration::try_from_secs_f64(saved.header.known.seconds).unwrap_or_default();
        let SavedProgress { share, finished, .. } = saved.header.known;
        Ok(Some(Earlier { job, share, worked, finished }))
    }

    /// With what was changed to make it fit.
    pub fn fitted(&self) -> &JobSpec {
        &self.fitted
    }

    /// From now on states are of this job, which begins anew: a state of the other would bring that back.
    pub fn refit(&mut self, fitted: JobSpec) -> Result<()> {
        let _ = self.wait();
        self.fitted = fitted;
        self.claim.clear()
    }

    /// The checkpoint's file.
    pub fn path(&self) -> &std::path::Path {
        self.claim.path()
    }

    /// Nothing is left to go on from.
    pub fn forget(mut self) -> Result<()> {
        let _ = self.wait();
        self.claim.clear()
    }

    fn wait(&mut self) -> Result<()> {
        match self.writing.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(Error::invalid("a checkpoint could not be written")),
            None => Ok(()),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The thread holds the claim: the lock must not outlive the job.
        let _ = self.wait();
    }
}
