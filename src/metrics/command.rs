//! `prunelens metrics NAME...`.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::{
    cli::MetricsArgs,
    data::create_folder,
    error::{Error, Result},
    export,
    jobs::{FAMILIES, Job, JobSpec, Params, Step},
    model::Tick,
    output::{self, ProgressLine, printable},
    session::Session,
};

/// Measure, write the files, print the figures. `tick` may stop it (Ctrl-C).
pub fn run(session: &Session, args: &MetricsArgs, tick: Tick) -> Result<()> {
    let specs = specs(args)?;
    let folder = args.out.as_ref().unwrap_or(&session.spec.results);
    create_folder(folder)?;
    let mut objects = Map::new();
    for spec in specs {
        let mut job = spec.make(FAMILIES, session)?;
        let seconds = drive(&mut *job, tick)?;
        let files = job.finish(folder)?;
        let table = job.table();
        if args.json {
            let mut object = export::table::json(&table);
            object["seconds"] = seconds.into();
            object["files"] = files.iter().map(|path| path.display().to_string()).collect();
            objects.insert(job.name().to_owned(), object);
        } else {
            let mut text = export::table::text(&table);
            files.iter().for_each(|path| text += &format!("written: {}\n", path.display()));
            output::answer(&printable(&text))?;
        }
    }
    if args.json { output::answer(&output::json(&Value::Object(objects))?) } else { Ok(()) }
}

/// A job a name, each with the parameters that its family has; one that no family has is wrong use.
fn specs(args: &MetricsArgs) -> Result<Vec<JobSpec>> {
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

/// Step a job to its end, with a line of progress on stderr if a person sees it; gives the seconds it took.
fn drive(job: &mut dyn Job, tick: Tick) -> Result<f64> {
    let start = Instant::now();
    let mut line = ProgressLine::new();
    while job.step(tick)? == Step::More {
        line.line(|| describe(job, start.elapsed()));
    }
    let progress = job.progress();
    let seconds = start.elapsed().as_secs_f64();
    let (done, unit) = (progress.done, progress.unit);
    line.end(&format!("{}: {done} {unit} in {seconds:.1} s, {:.0} {unit}/s", job.name(), done as f64 / seconds));
    Ok(seconds)
}

fn describe(job: &dyn Job, elapsed: Duration) -> String {
    let progress = job.progress();
    let share = progress.done as f64 / progress.total.max(1) as f64;
    let left = if share > 0.0 {
        let left = elapsed.as_secs_f64() * (1.0 - share) / share;
        format!("{:.0}:{:02.0} left", (left / 60.0).floor(), left % 60.0)
    } else {
        String::new()
    };
    format!("{} {:3.0} %  {}  {left}", job.name(), 100.0 * share, progress.note)
}
