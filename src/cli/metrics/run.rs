//! Jobs run to their end, one after the other on each session.

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use prunelens_core::{
    error::{Error, Result},
    files::create_folder,
    model::Tick,
    session::Session,
};
use prunelens_metrics::{
    FAMILIES, Job, JobSpec, Keeper, Params, Run, Step, Store, fingerprint, fit, keeper::Earlier, runs,
};
use serde_json::{Map, Value, json};

use super::{MetricsArgs, sessions::Sessions};
use crate::{
    export,
    output::{self, ProgressLine, printable},
};

/// Measure, write the files, print the figures. What `tick` stops (Ctrl-C, a signal) goes on when it is asked for again.
pub fn run(sessions: Sessions, args: &MetricsArgs, store: Option<Store>, tick: Tick) -> Result<()> {
    let specs = specs(args)?;
    let mut layers = Map::new();
    for (layer, session) in sessions {
        let session = session()?;
        let folder = args.out.as_ref().unwrap_or(&session.spec.results);
        create_folder(folder)?;
        let mut objects = Map::new();
        for spec in &specs {
            let restart = args.restart;
            let measured = Measurement { session: &session, spec, store: store.as_ref(), restart }.run(folder, tick)?;
            if args.json {
                objects.insert(spec.family.clone(), measured.json());
            } else {
                output::answer(&printable(&measured.text()))?;
            }
        }
        match layer {
            Some(layer) => drop(layers.insert(layer.to_string(), Value::Object(objects))),
            None => layers = objects,
        }
    }
    let several = args.layers.is_some();
    let all = if several { json!({ "layers": layers }) } else { Value::Object(layers) };
    if args.json { output::answer(&output::json(&all)?) } else { Ok(()) }
}

/// A job a name, each with the parameters that its family has; one that no family has is wrong use.
pub fn specs(args: &MetricsArgs) -> Result<Vec<JobSpec>> {
    let mut specs: Vec<JobSpec> = Vec::new();
    let given = &args.params.0.0;
    let mut used = Vec::new();
    for name in &args.names {
        // Both spellings are taken; files and folders have SAEBench's.
        let mut spec = JobSpec::new(&name.replace('-', "_"));
        let params = spec.family(FAMILIES)?.params;
        let own = given.iter().filter(|(name, _)| params.iter().any(|p| p.name == **name));
        spec.params = Params(own.map(|(name, value)| (name.clone(), value.clone())).collect());
        used.extend(spec.params.0.keys().cloned());
        spec.family(FAMILIES)?;
        if !specs.contains(&spec) {
            specs.push(spec);
        }
    }
    match given.keys().find(|name| !used.contains(name)) {
        Some(name) => Err(Error::Usage(format!("{} has no parameter --{name}", args.names.join(", ")))),
        None => Ok(specs),
    }
}

/// One job to be run to its end.
struct Measurement<'a> {
    session: &'a Session,
    spec: &'a JobSpec,
    store: Option<&'a Store>,
    /// Do not go on from what an earlier run left.
    restart: bool,
}

/// A job about to go on.
struct Begun {
    job: Box<dyn Job>,
    /// In earlier processes, and the share done there.
    worked: Duration,
    resumed: Option<f64>,
    /// Only its results have to be written.
    finished: bool,
}

/// A run, and from where it went on.
struct Measured {
    run: Run,
    resumed: Option<f64>,
    remarks: Vec<String>,
}

impl Measurement<'_> {
    fn run(&self, folder: &Path, tick: Tick) -> Result<Measured> {
        let key = fingerprint::of_job(self.spec.family(FAMILIES)?, self.spec, self.session);
        if let Some(run) = self.store.filter(|_| !self.restart).and_then(|store| store.runs().done(&key, folder)) {
            let remark = "measured already, with these settings on these files; --restart measures anew".to_owned();
            say(&format!("{}: {remark}", self.spec.family));
            return Ok(Measured { run, resumed: Some(1.0), remarks: vec![remark] });
        }
        let mut remarks = Vec::new();
        let mut keeper = self.claim()?;
        let Begun { mut job, worked, resumed, mut finished } = self.make(keeper.as_mut(), &mut remarks)?;
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
        let files = match job.finish(folder) {
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
        match store.checkpoints().claim(self.spec.family(FAMILIES)?, self.spec, self.session) {
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
    fn make(&self, keeper: Option<&mut Keeper>, remarks: &mut Vec<String>) -> Result<Begun> {
        let mut keeper = keeper;
        if let Some(keeper) = &mut keeper {
            match keeper.take_up(FAMILIES, self.session) {
                Ok(Some(earlier)) => {
                    let percent = (100.0 * earlier.share).floor();
                    remarks.push(format!("goes on from {percent} % of an earlier run; --restart begins anew"));
                    let Earlier { job, worked, share, finished } = earlier;
                    return Ok(Begun { job, worked, resumed: Some(share), finished });
                }
                Ok(None) => {}
                Err(error) => remarks.push(format!("begun anew, the saved state is of no use: {error}")),
            }
        }
        let family = self.spec.family(FAMILIES)?;
        let (fitted, remark) = fit::fit(family, self.spec, self.session, fit::free_for(self.session))?;
        remarks.extend(remark);
        let job = fitted.make(FAMILIES, self.session)?;
        if let Some(keeper) = keeper {
            keeper.refit(fitted)?;
        }
        Ok(Begun { job, worked: Duration::ZERO, resumed: None, finished: false })
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
        let family = self.spec.family(FAMILIES)?;
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
        let job = smaller.make(FAMILIES, self.session)?;
        if let Some(keeper) = keeper {
            keeper.refit(smaller)?;
        }
        Ok(job)
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

impl Measured {
    fn json(&self) -> Value {
        let run = &self.run;
        let mut object = export::table::json(&run.table);
        object["params"] = json!(run.spec.params);
        object["details"] = json!(run.details);
        object["remarks"] = json!(self.remarks);
        object["resumed_at"] = json!(self.resumed);
        object["seconds"] = run.seconds.into();
        object["files"] = run.files.iter().map(|path| path.display().to_string()).collect();
        object
    }

    fn text(&self) -> String {
        let mut text = export::table::text(&self.run.table);
        self.run.files.iter().for_each(|path| text += &format!("written: {}\n", path.display()));
        text
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
    let left = if share > 0.0 {
        let left = seconds * (1.0 - share) / share;
        format!("{:.0}:{:02.0} left", (left / 60.0).floor(), left % 60.0)
    } else {
        String::new()
    };
    format!("{} {:3.0} %  {}  {left}", job.name(), 100.0 * share, progress.note)
}

/// A word to the user that is no part of the answer.
fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

fn warn(outcome: Result<()>) {
    if let Err(error) = outcome {
        say(&error.to_string());
    }
}
