//! The engine's jobs: one at a time in their order, the others waiting, paused, or finished with nowhere to put results.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use prunelens_core::{
    error::{Error, Result},
    sae::Dial,
    session::{Session, SessionSpec},
};
use prunelens_metrics::{
    Family, Job, Keeper, Run, Step, Store,
    checkpoint::millis,
    fingerprint, fit,
    params::{CRITERION, KNOB},
    runs,
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Command, JobId, JobState, MemoryUse, Report,
    entry::{Entry, Phase},
    live::Live,
    mailbox::Mailbox,
    report::Unfinished,
    seat::Seat,
};

/// Between two reports of a job's progress, and of its figures: enough to watch it.
const TELL: Duration = Duration::from_millis(100);
const TELL_TABLE: Duration = Duration::from_millis(250);
/// Of a job whose figures are there before it has begun.
const MEASURED: &str = "measured already, with these settings on these files";
/// Of a command that comes after another session was opened.
const GONE: &str = "another session was opened meanwhile: open the one before, and it can be had there";
/// Earlier runs told to the interface.
const RECALLED: usize = 100;

pub struct Queue {
    families: &'static [Family],
    store: Option<Store>,
    reports: UnboundedSender<Report>,
    entries: Vec<Entry>,
    /// The one that is under way goes on until it is over or paused, wherever it stands.
    current: Option<JobId>,
    /// What jobs have trained and their sessions have yet to take up.
    trained: Vec<TrainedSae>,
    /// What was said of saved jobs that cannot be read.
    spoilt: HashSet<String>,
}

/// An SAE that a job has trained.
pub struct TrainedSae {
    pub folder: PathBuf,
    /// In which session.
    pub of: Arc<SessionSpec>,
}

impl Queue {
    pub fn new(families: &'static [Family], store: Option<Store>, reports: UnboundedSender<Report>) -> Self {
        Self {
            families,
            store,
            reports,
            entries: Vec::new(),
            current: None,
            trained: Vec::new(),
            spoilt: HashSet::new(),
        }
    }

    fn send(&self, report: Report) {
        // Fails only when the interface is gone.
        let _ = self.reports.send(report);
    }

    fn state(&self, id: JobId, state: JobState) {
        self.send(Report::Job { id, state });
    }

    fn warn(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!("{error}");
            self.send(Report::Warning(error.to_string()));
        }
    }

    fn entry(&mut self, id: JobId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.id == id)
    }

    /// The job whose turn it is.
    fn next(&self) -> Option<JobId> {
        let ready = |e: &&Entry| e.phase == Phase::Ready;
        let current = self.entries.iter().filter(ready).find(|e| Some(e.id) == self.current);
        current.or_else(|| self.entries.iter().find(ready)).map(|e| e.id)
    }

    pub fn has_work(&self) -> bool {
        self.next().is_some()
    }

    /// SAEs that jobs have trained since this was last asked.
    pub fn take_trained(&mut self) -> Vec<TrainedSae> {
        std::mem::take(&mut self.trained)
    }

    /// What is known of earlier: interrupted jobs of this session, and finished runs.
    pub fn recall(&mut self, session: &Session) {
        let Some(store) = self.store.clone() else { return };
        let (unfinished, spoilt) = store.checkpoints().unfinished(self.families, session);
        for error in spoilt {
            // Once a run, however many sessions are opened.
            if self.spoilt.insert(error.to_string()) {
                self.warn(Err(error));
            }
        }
        if !unfinished.is_empty() {
            let all = unfinished.into_iter().map(|h| Unfinished { spec: h.spec, share: h.known.share });
            self.send(Report::Unfinished(all.collect()));
        }
        let runs = store.runs().recall(RECALLED);
        if !runs.is_empty() {
            self.send(Report::Runs { runs: Arc::new(runs), now: millis() });
        }
    }

    /// A command about jobs, with the session on screen; others are not for the queue.
    pub fn obey(&mut self, command: Command, seat: Option<&Seat>) {
        match command {
            Command::StartJob { id, job, of, anew } => {
                // Never in another than the one that it was asked for in.
                if seat.is_none_or(|seat| seat.spec != *of) {
                    return self.state(id, JobState::Failed(GONE.into()));
                }
                self.state(id, JobState::Queued);
                let entry = Entry::new(id, job, of, anew);
                self.entries.push(entry);
            }
            Command::PauseJob(id) => self.pause(id),
            Command::ResumeJob(id) => {
                if let Some(entry) = self.entry(id).filter(|e| e.phase == Phase::Paused) {
                    entry.phase = Phase::Ready;
                    self.state(id, JobState::Queued);
                }
            }
            Command::CancelJob(id) => {
                if let Some(at) = self.entries.iter().position(|e| e.id == id) {
                    let entry = self.entries.remove(at);
                    self.warn(entry.keeper.map_or(Ok(()), Keeper::forget));
                    self.state(id, JobState::Cancelled);
                }
            }
            Command::MoveJob { id, earlier } => {
                if let Some(at) = self.entries.iter().position(|e| e.id == id) {
                    let to = if earlier { at.saturating_sub(1) } else { (at + 1).min(self.entries.len() - 1) };
                    self.entries.swap(at, to);
                }
            }
            Command::WriteJob { id, folder } => {
                if let (Some(seat), Some(at)) = (seat, self.entries.iter().position(|e| e.id == id)) {
                    let session = self.entries[at].at.clone().unwrap_or_else(|| seat.jobs.clone());
                    let folder = folder.unwrap_or_else(|| session.spec.results.clone());
                    if self.entries[at].phase == Phase::Unwritten {
                        self.write(at, &folder, &session);
                    }
                }
            }
            Command::ForgetJob { job, of } => {
                let Some(store) = &self.store else { return };
                let forgotten = match seat.filter(|seat| seat.spec == *of) {
                    Some(seat) => job
                        .family(self.families)
                        .and_then(|family| store.checkpoints().claim(family, &job, &seat.jobs))
                        .and_then(|claim| claim.clear()),
                    None => Err(Error::invalid(GONE)),
                };
                self.warn(forgotten);
            }
            Command::Load(_) | Command::Open(_) | Command::StopOpening | Command::Join(_) | Command::Quit => {}
        }
    }

    fn pause(&mut self, id: JobId) {
        let Some(entry) = self.entry(id).filter(|e| e.phase == Phase::Ready) else { return };
        entry.phase = Phase::Paused;
        let share = entry.job.as_ref().map_or(0.0, |job| job.progress().share());
        let kept = entry.keep_now();
        self.warn(kept);
        self.state(id, JobState::Paused(share));
    }

    /// Another session takes the place of this one: what was started in it goes on in it.
    pub fn pin(&mut self, session: &Arc<Session>) {
        for entry in &mut self.entries {
            entry.at.get_or_insert_with(|| session.clone());
        }
    }

    /// The session goes: save everything that can go on later.
    pub fn end(&mut self, session: Option<&Session>) {
        for mut entry in std::mem::take(&mut self.entries) {
            let share = entry.job.as_ref().map_or(0.0, |job| job.progress().share());
            let own = entry.at.clone();
            let kept = match (&self.store, own.as_deref().or(session)) {
                (Some(store), Some(session)) => {
                    entry.claim(self.families, store, session).and_then(|()| entry.keep_now()).map(|()| true)
                }
                _ => Ok(false),
            };
            let state = match kept {
                Ok(true) => JobState::Interrupted(share),
                Ok(false) => JobState::Cancelled,
                Err(error) => JobState::Failed(format!("stopped, and its state could not be saved: {error}")),
            };
            // Its lock goes first: whoever hears that it is over may end the process.
            let id = entry.id;
            drop(entry);
            self.state(id, state);
        }
        self.current = None;
    }

    /// One step of the job whose turn it is. The user, and commands that let it go on, are served in between.
    pub fn step(&mut self, live: &mut Live, mailbox: &Mailbox) {
        let Some(id) = self.next() else { return };
        self.current = Some(id);
        let own = self.entry(id).and_then(|entry| entry.at.clone());
        let session = own.unwrap_or_else(|| live.seat.jobs.clone());
        if let Some(run) = self.measured(id, &session) {
            return self.take_over(id, &run);
        }
        let mut served = Duration::ZERO;
        let started = Instant::now();
        let outcome = self.advance(id, live, mailbox, &session, &mut served);
        if let Some(entry) = self.entry(id) {
            entry.worked += started.elapsed().saturating_sub(served);
        }
        match outcome {
            Ok(Step::More) => self.tell(id, &session),
            Ok(Step::Done) => {
                if let Some(at) = self.entries.iter().position(|e| e.id == id) {
                    self.entries[at].told_table = None;
                    self.tell_table(id, &session);
                    self.write(at, &session.spec.results, &session);
                }
            }
            // The command that ended the step waits; it says what becomes of the job.
            Err(Error::Interrupted) => {}
            Err(error) => self.failed(id, error, &session),
        }
    }

    /// The same job's run, if it was to its end before this one has begun. What was begun anew and left goes on.
    fn measured(&mut self, id: JobId, session: &Session) -> Option<Run> {
        let (families, store) = (self.families, self.store.clone()?);
        let entry = self.entry(id).filter(|entry| entry.job.is_none() && !entry.anew)?;
        store.measured(entry.spec.family(families).ok()?, &entry.spec, session, &session.spec.results)
    }

    fn take_over(&mut self, id: JobId, run: &Run) {
        let of = self.entry(id).map(|entry| entry.of.clone());
        self.entries.retain(|entry| entry.id != id);
        self.trained.extend(run.trained().zip(of).map(|(folder, of)| TrainedSae { folder, of }));
        self.send(Report::JobRemark { id, text: MEASURED.into() });
        let (table, details) = (Arc::new(run.table.clone()), Arc::new(run.details.clone()));
        self.send(Report::JobTable { id, table, details });
        self.state(id, JobState::Done { seconds: run.seconds, files: run.results().collect() });
    }

    fn advance(
        &mut self,
        id: JobId,
        live: &mut Live,
        mailbox: &Mailbox,
        session: &Session,
        served: &mut Duration,
    ) -> Result<Step> {
        let Some(entry) = self.entry(id) else { return Err(Error::Interrupted) };
        let (taken, spec) = (entry.job.take(), entry.spec.clone());
        let mut job = match taken {
            Some(job) => job,
            None => {
                // Ranks by a criterion that is used for the first time take a while; they are the session's, not the job's.
                if let Some(criterion) = spec.params.get::<String>(CRITERION.name)? {
                    let knob = spec.params.get::<Dial>(KNOB.name)?.unwrap_or(session.setting.into()).knob();
                    let tick = &mut || self.attend(id, live, mailbox, session, served);
                    session.order(knob.by(criterion.parse()?), tick)?;
                }
                self.make(id, session)?
            }
        };
        let finished = self.entry(id).is_some_and(|entry| entry.finished);
        let step =
            if finished { Ok(Step::Done) } else { job.step(&mut || self.attend(id, live, mailbox, session, served)) };
        if let Some(entry) = self.entry(id) {
            entry.job = Some(job);
            entry.finished = matches!(step, Ok(Step::Done));
        }
        step
    }

    /// Between two parts of a step: what ends it, what other jobs are told, what the user wants.
    fn attend(
        &mut self,
        id: JobId,
        live: &mut Live,
        mailbox: &Mailbox,
        session: &Session,
        served: &mut Duration,
    ) -> Result<()> {
        session.await_previous()?;
        if mailbox.ends(Some(id)) {
            return Err(Error::Interrupted);
        }
        while let Some(command) = mailbox.next_beside(id) {
            self.obey(command, Some(&live.seat));
        }
        let before = Instant::now();
        live.serve();
        *served += before.elapsed();
        Ok(())
    }

    /// The job, from where an earlier process left it if one did.
    fn make(&mut self, id: JobId, session: &Session) -> Result<Box<dyn Job>> {
        let (families, store) = (self.families, self.store.clone());
        let Some(entry) = self.entry(id) else { return Err(Error::Interrupted) };
        let mut remarks = Vec::new();
        if let Some(store) = &store
            && let Err(error) = entry.claim(families, store, session)
        {
            if matches!(error, Error::Invalid(_)) {
                return Err(error);
            }
            // A state folder that cannot be written to is no reason not to measure.
            remarks.push(format!("no checkpoints are kept: {error}"));
        }
        let mut made = None;
        if let Some(keeper) = &mut entry.keeper {
            match keeper.take_up(families, session) {
                Ok(Some(earlier)) => {
                    remarks.push(format!("goes on from {:.0} %", 100.0 * earlier.share));
                    (entry.worked, entry.finished) = (earlier.worked, earlier.finished);
                    entry.fitted = keeper.fitted().clone();
                    made = Some(earlier.job);
                }
                Ok(None) => {}
                Err(error) => remarks.push(format!("begun anew, the saved state is of no use: {error}")),
            }
        }
        let job = match made {
            Some(job) => job,
            None => {
                let family = entry.fitted.family(families)?;
                let (fitted, remark) = fit::fit(family, &entry.fitted, session, fit::free_for(session))?;
                entry.refit(fitted)?;
                remarks.extend(remark);
                entry.fitted.make(families, session)?
            }
        };
        for text in remarks {
            self.send(Report::JobRemark { id, text });
        }
        Ok(job)
    }

    fn failed(&mut self, id: JobId, error: Error, session: &Session) {
        let families = self.families;
        let Some(at) = self.entries.iter().position(|e| e.id == id) else { return };
        let entry = &mut self.entries[at];
        if fit::is_out_of_memory(&error) {
            // What it held has to go before there is room.
            entry.job = None;
            let smaller = entry.fitted.family(families).ok();
            let smaller = smaller.and_then(|family| fit::after_failure(family, &entry.fitted, session));
            if let Some((fitted, text)) = smaller {
                let cleared = entry.refit(fitted);
                self.warn(cleared);
                self.send(Report::JobRemark { id, text });
                return;
            }
        }
        // Its last checkpoint stays: the reason may go away.
        self.entries.remove(at);
        self.state(id, JobState::Failed(error.to_string()));
    }

    /// Progress, figures and a checkpoint, each when it is time for it.
    fn tell(&mut self, id: JobId, session: &Session) {
        let Some(entry) = self.entry(id) else { return };
        let Some(job) = &entry.job else { return };
        let seconds = entry.worked.as_secs_f64();
        let kept = entry.keeper.as_mut().map_or(Ok(()), |keeper| keeper.keep(&**job, seconds));
        if entry.told.is_none_or(|at| at.elapsed() >= TELL) {
            entry.told = Some(Instant::now());
            let p = job.progress();
            let (done, total, unit, note) = (p.done, p.total, p.unit, p.note);
            self.state(id, JobState::Running { done, total, unit, seconds, note });
        }
        self.warn(kept);
        self.tell_table(id, session);
    }

    fn tell_table(&mut self, id: JobId, session: &Session) {
        let Some(entry) = self.entry(id).filter(|e| e.told_table.is_none_or(|at| at.elapsed() >= TELL_TABLE)) else {
            return;
        };
        let Some(job) = &entry.job else { return };
        entry.told_table = Some(Instant::now());
        let (table, details) = (Arc::new(job.table()), Arc::new(job.details()));
        let on_screen = entry.at.is_none();
        self.send(Report::JobTable { id, table, details });
        if on_screen && !session.models.original.device.is_cpu() {
            self.send(Report::Memory(MemoryUse::of(session)));
        }
    }

    /// Write a finished job's results. Where that fails it stays, with its checkpoint.
    fn write(&mut self, at: usize, folder: &Path, session: &Session) {
        let store = self.store.clone();
        let entry = &mut self.entries[at];
        let (id, seconds) = (entry.id, entry.worked.as_secs_f64());
        let Some(job) = &mut entry.job else { return };
        let files = match job.finish(folder) {
            Ok(files) => files,
            Err(error) => {
                entry.phase = Phase::Unwritten;
                let kept = entry.keep_now();
                self.warn(kept);
                return self.state(id, JobState::Unwritten(error.to_string()));
            }
        };
        let key = entry.spec.family(self.families).map(|family| fingerprint::of_job(family, &entry.spec, session));
        let trained = job.trained().map(|folder| TrainedSae { folder: folder.to_path_buf(), of: entry.of.clone() });
        let run = Run::now(entry.spec.clone(), runs::label(session), seconds, job.table(), job.details())
            .written(files, key.unwrap_or_default());
        self.trained.extend(trained);
        // In this order: what is broken off in between is measured again at worst, and not lost from the list.
        if let Some(store) = store {
            self.warn(store.runs().remember(&run));
        }
        let forgotten = self.entries.remove(at).keeper.map_or(Ok(()), Keeper::forget);
        self.warn(forgotten);
        self.state(id, JobState::Done { seconds, files: run.results().collect() });
    }
}
