//! One job run to its end without a screen: checkpoints, less memory where there is too little, a line of progress.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use prunelens_core::{
    error::{Error, Result},
    progress::Tick,
    session::Session,
};
use prunelens_metrics::{
    JOBS, Job, JobSpec, Keeper, Run, SavedProgress, SessionCheckpoints, Step, Store, fingerprint, fit, keeper::Earlier,
    runs,
};

use crate::{
    output::{ProgressLine, printable},
    words::time,
};

/// One job to be run to its end.
pub struct Measurement<'a> {
    pub session: &'a Session,
    pub spec: &'a JobSpec,
    pub store: Option<&'a Store>,
    /// Do not go on from what an earlier run left.
    pub restart: bool,
    /// How long results that cannot be written are kept and written again.
    pub patience: Duration,
}

/// A job about to go on.
struct StartedJob {
    job: Box<dyn Job>,
    /// In earlier processes, and the share done there.
    worked: Duration,
    resumed: Option<f64>,
    /// Only its results have to be written.
    finished: bool,
}

/// A run, and from where it went on.
pub struct Measured {
    pub run: Run,
    /// Share that was done before.
    pub resumed: Option<f64>,
    pub remarks: Vec<String>,
}

impl Measurement<'_> {
    /// What it gives, with the results written below `folder`. What `tick` stops goes on when it is asked for again.
    pub fn run(&self, folder: &Path, tick: Tick) -> Result<Measured> {
        let family = self.spec.family(JOBS)?;
        let key = fingerprint::of_job(family, self.spec, self.session);
        let store = self.store.filter(|_| !self.restart);
        if let Some(run) = store.and_then(|store| store.measured(family, self.spec, self.session, folder)) {
            let remark = "measured already, with these settings on these files; --restart measures anew".to_owned();
            say(&format!("{}: {remark}", self.spec.family));
            return Ok(Measured { run, resumed: Some(1.0), remarks: vec![remark] });
        }
        let mut remarks = Vec::new();
        let mut keeper = self.claim()?;
        let StartedJob { mut job, worked, resumed, mut finished } = self.make(keeper.as_mut(), &mut remarks)?;
        remarks.iter().for_each(|remark| say(&format!("{}: {remark}", self.spec.family)));
        let mut clock = Clock { before: worked, started: Instant::now() };
        while !finished {
            match drive(&mut *job, keeper.as_mut(), &clock, tick) {
                Ok(()) => finished = true,
                Err(error) => {
                    job = self.after_failure(error, job, keeper.as_mut(), &clock, &mut remarks)?;
                    clock = Clock { before: Duration::ZERO, started: Instant::now() };
                }
            }
        }
        let seconds = clock.seconds();
        let files = match self.finish(&mut *job, folder, tick) {
            Ok(files) => files,
            Err(error) => return Err(self.unwritten(error, &*job, keeper.as_mut(), seconds)),
        };
        let (table, details) = (job.table(), job.details());
        let run = Run::now(self.spec.clone(), runs::label(self.session), seconds, table, details).written(files, key);
        if let Some(store) = self.store {
            warn(store.runs().remember(&run));
        }
        warn(keeper.map_or(Ok(()), Keeper::forget));
        Ok(Measured { run, resumed, remarks })
    }

    /// The job's checkpoint, for this process alone. Where none can be kept the job runs without.
    fn claim(&self) -> Result<Option<Keeper>> {
        let Some(store) = self.store else { return Ok(None) };
        match store.checkpoints().claim(self.spec.family(JOBS)?, self.spec, self.session) {
            Ok(claim) => {
                if self.restart {
                    claim.clear()?;
                }
                Ok(Some(Keeper::new(claim, self.spec.clone(), store.every)))
            }
            Err(error @ Error::Invalid(_)) => Err(error),
            Err(error) => {
                say(&format!("{}: no checkpoints are kept: {error}", self.spec.family));
                Ok(None)
            }
        }
    }

    /// The job, from where an earlier process left it if one did.
    fn make(&self, keeper: Option<&mut Keeper>, remarks: &mut Vec<String>) -> Result<StartedJob> {
        let mut keeper = keeper;
        if let Some(keeper) = &mut keeper {
            match keeper.take_up(JOBS, self.session) {
                Ok(Some(Earlier { job, worked, share, finished })) => {
                    // What is finished was read together with others, or could not be written.
                    if !finished {
                        let percent = (100.0 * share).floor();
                        remarks.push(format!("goes on from {percent} % of an earlier run; --restart begins anew"));
                    }
                    return Ok(StartedJob { job, worked, resumed: Some(share), finished });
                }
                Ok(None) => {}
                Err(error) => remarks.push(format!("begun anew, the saved state is of no use: {error}")),
            }
        }
        let family = self.spec.family(JOBS)?;
        let (fitted, remark) = fit::fit(family, self.spec, self.session, fit::free_for(self.session))?;
        remarks.extend(remark);
        let job = fitted.make(JOBS, self.session)?;
        if let Some(keeper) = keeper {
            keeper.refit(fitted)?;
        }
        Ok(StartedJob { job, worked: Duration::ZERO, resumed: None, finished: false })
    }

    /// A job that ran out of memory begins anew with less at a time; what else ended it ends the command.
    fn after_failure(
        &self,
        error: Error,
        job: Box<dyn Job>,
        mut keeper: Option<&mut Keeper>,
        clock: &Clock,
        remarks: &mut Vec<String>,
    ) -> Result<Box<dyn Job>> {
        let family = self.spec.family(JOBS)?;
        if matches!(error, Error::Interrupted)
            && let Some(keeper) = &mut keeper
        {
            let percent = (100.0 * job.progress().share()).floor();
            match keeper.keep_now(Some(&*job), clock.seconds(), false) {
                Ok(()) => say(&format!("{}: stopped at {percent} %; the same command goes on from there", family.name)),
                failed => warn(failed),
            }
        }
        if !fit::is_out_of_memory(&error) {
            return Err(error);
        }
        // What it held has to go before there is room.
        drop(job);
        let before = keeper.as_ref().map_or(self.spec, |keeper| keeper.fitted()).clone();
        let Some((smaller, remark)) = fit::after_failure(family, &before, self.session) else { return Err(error) };
        say(&format!("{}: {remark}", family.name));
        remarks.push(remark);
        let job = smaller.make(JOBS, self.session)?;
        if let Some(keeper) = keeper {
            keeper.refit(smaller)?;
        }
        Ok(job)
    }

    /// Write the results, again and again where that fails and there is patience: a disk may have room in a minute.
    fn finish(&self, job: &mut dyn Job, folder: &Path, tick: Tick) -> Result<Vec<PathBuf>> {
        patiently(self.patience, tick, || job.finish(folder))
    }

    /// Everything is measured and nothing of it may be lost.
    fn unwritten(&self, error: Error, job: &dyn Job, keeper: Option<&mut Keeper>, seconds: f64) -> Error {
        let kept = keeper.is_some_and(|keeper| keeper.keep_now(Some(job), seconds, true).is_ok());
        if kept {
            Error::invalid(format!(
                "{error}. What was measured is kept: the same command with another --out writes it at once"
            ))
        } else {
            error
        }
    }
}

/// Jobs of one session that read the same, done together: what they read is read once.
pub struct Joined<'a> {
    pub session: &'a Session,
    pub specs: Vec<&'a JobSpec>,
    pub checkpoints: &'a SessionCheckpoints<'a>,
    /// Time between two checkpoints.
    pub every: Duration,
    pub patience: Duration,
}

impl Joined<'_> {
    /// Leave each of them finished, with nothing to do but to write its results. False where they cannot share, or not with
    /// the memory that is free.
    pub fn run(&self, tick: Tick) -> Result<bool> {
        let family = match &self.specs[..] {
            [first, _, ..] => first.family(JOBS)?,
            _ => return Ok(false),
        };
        if !fit::fit_together(family, &self.specs, self.session, fit::free_for(self.session))? {
            return Ok(false);
        }
        let claim = self.checkpoints.claim_joined(family, &self.specs)?;
        let mut keeper = Keeper::new(claim, self.specs[0].clone(), self.every);
        let joined = || self.join()?.ok_or_else(|| Error::invalid("jobs that were joined cannot be any more"));
        let earlier = keeper.take_up_as(|_| joined()).unwrap_or_else(|error| {
            say(&format!("{}: begun anew, the saved state is of no use: {error}", family.name));
            None
        });
        let (mut job, worked) = match earlier {
            Some(Earlier { job, worked, .. }) => (job, worked),
            None => match self.join()? {
                Some(job) => (job, Duration::ZERO),
                None => return Ok(false),
            },
        };
        let clock = Clock { before: worked, started: Instant::now() };
        match drive(&mut *job, Some(&mut keeper), &clock, tick) {
            Ok(()) => {}
            Err(Error::Interrupted) => {
                warn(keeper.keep_now(Some(&*job), clock.seconds(), false));
                return Err(Error::Interrupted);
            }
            Err(error) if fit::is_out_of_memory(&error) => {
                say(&format!("{}: memory ran out for {} at once", family.name, self.specs.len()));
                warn(keeper.forget());
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let known = SavedProgress { share: 1.0, seconds: clock.seconds() / self.specs.len() as f64, finished: true };
        for (spec, state) in self.specs.iter().zip(job.states()?) {
            let own = self.checkpoints.claim(family, spec)?;
            patiently(self.patience, tick, || own.save(spec, known, &state))?;
        }
        warn(keeper.forget());
        Ok(true)
    }

    /// It was begun, and not all of its jobs have what they need of it.
    pub fn is_begun(&self) -> bool {
        let family = self.specs.first().and_then(|spec| spec.family(JOBS).ok());
        let claim = family.and_then(|family| self.checkpoints.claim_joined(family, &self.specs).ok());
        claim.is_some_and(|claim| claim.path().is_file())
    }

    fn join(&self) -> Result<Option<Box<dyn Job>>> {
        JobSpec::join(&self.specs, JOBS, self.session)
    }
}

/// Do what writes, again and again for so long where it fails.
pub fn patiently<T>(patience: Duration, tick: Tick, mut write: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match write() {
            Err(error) if !matches!(error, Error::Interrupted) && started.elapsed() < patience => {
                if !told {
                    say(&format!("{error}; tried again for {} s", patience.as_secs()));
                    told = true;
                }
                tick()?;
                std::thread::sleep(Duration::from_secs(1).min(patience));
            }
            written => return written,
        }
    }
}

/// Time of work, that of earlier processes too.
struct Clock {
    before: Duration,
    started: Instant,
}

impl Clock {
    fn seconds(&self) -> f64 {
        (self.before + self.started.elapsed()).as_secs_f64()
    }
}

/// Step a job to its end, with checkpoints, and a line of progress on stderr if a user sees it.
fn drive(job: &mut dyn Job, mut keeper: Option<&mut Keeper>, clock: &Clock, tick: Tick) -> Result<()> {
    let mut line = ProgressLine::new();
    while job.step(tick)? == Step::More {
        if let Some(keeper) = &mut keeper
            && let Err(error) = keeper.keep(job, clock.seconds())
        {
            line.clear();
            say(&format!("no checkpoint: {error}"));
        }
        line.line(|| describe(job, clock.seconds()));
    }
    let progress = job.progress();
    let (done, unit, seconds) = (progress.done, progress.unit, clock.seconds());
    line.end(&format!("{}: {done} {unit} in {seconds:.1} s, {:.0} {unit}/s", job.name(), done as f64 / seconds));
    Ok(())
}

fn describe(job: &dyn Job, seconds: f64) -> String {
    let progress = job.progress();
    let share = progress.share();
    let left = if share > 0.0 { format!("{} left", time(seconds * (1.0 - share) / share)) } else { String::new() };
    format!("{} {:3.0} %  {}  {left}", job.name(), 100.0 * share, progress.note)
}

/// A word to the user that is no part of the answer.
pub fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

fn warn(outcome: Result<()>) {
    if let Err(error) = outcome {
        say(&error.to_string());
    }
}
