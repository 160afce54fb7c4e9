//! `prunelens metrics`: measure, write the result files, print the figures.

use std::{io::Write, path::Path, time::Instant};

use serde_json::{Map, Value};

use crate::{
    cli::{MetricsArgs, metrics::MetricName},
    data::create_folder,
    error::{Error, Result},
    export,
    jobs::{Job, JobProgress, Step, core::CoreJob},
    metrics::core::setup::CoreOptions,
    model::Tick,
    output::{ProgressLine, printable},
    session::Session,
};

/// Measure what `args` names on a loaded session. An error from `tick` (Ctrl-C) ends it without a file.
pub fn run(session: &Session, args: &MetricsArgs, out: &mut dyn Write, tick: Tick) -> Result<()> {
    let folder = args.out.as_ref().unwrap_or(&session.spec.results);
    create_folder(folder)?;
    let mut objects = Map::new();
    let mut names = args.names.clone();
    names.dedup();
    for name in names {
        let mut job: Box<dyn Job> = match name {
            MetricName::Core => Box::new(CoreJob::new(session, &core_options(args))?),
        };
        let answer = measure(&mut *job, folder, tick)?;
        if args.json {
            objects.insert(job.name().to_owned(), answer.json);
        } else {
            write(out, &answer.text)?;
        }
    }
    if args.json { write(out, &format!("{:#}\n", Value::Object(objects))) } else { Ok(()) }
}

fn core_options(args: &MetricsArgs) -> CoreOptions {
    CoreOptions {
        variants: args.variants.clone(),
        text: None,
        rows: args.rows,
        context: args.context,
        batch: args.batch,
        pruning: None,
    }
}

struct Answer {
    text: String,
    json: Value,
}

/// Step a job to its end, with a line of progress if a person sees it, and write its files.
fn measure(job: &mut dyn Job, folder: &Path, tick: Tick) -> Result<Answer> {
    let start = Instant::now();
    let mut line = ProgressLine::new();
    while job.step(tick)? == Step::More {
        line.line(|| describe(job.name(), &job.progress(), start.elapsed().as_secs_f64()));
    }
    line.clear();
    let seconds = start.elapsed().as_secs_f64();
    let files = job.finish(folder)?;
    let table = job.table();

    let mut text = export::table::text(&table);
    text += &format!("\n{seconds:.1} s, {:.0} tokens a second\n", job.progress().done as f64 / seconds);
    files.iter().for_each(|path| text += &format!("wrote {}\n", printable(&path.display().to_string())));
    let mut json = export::table::json(&table);
    json["seconds"] = seconds.into();
    json["files"] = files.iter().map(|path| path.display().to_string()).collect();
    Ok(Answer { text, json })
}

fn describe(name: &str, progress: &JobProgress, seconds: f64) -> String {
    let share = progress.done as f64 / progress.total.max(1) as f64;
    let left = if share > 0.0 { (seconds * (1.0 - share) / share).round() as u64 } else { 0 };
    let left = if left > 0 { format!("  {}:{:02} left", left / 60, left % 60) } else { String::new() };
    format!("{name}  {:3.0} %  {}{left}", 100.0 * share, progress.note)
}

fn write(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(|e| Error::io("stdout", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_long() {
        let progress = |done| JobProgress { done, total: 4096, unit: "tokens", note: "batch 2 of 4".into() };
        assert_eq!(describe("core", &progress(0), 0.0), "core    0 %  batch 2 of 4");
        assert_eq!(describe("core", &progress(1024), 30.0), "core   25 %  batch 2 of 4  1:30 left");
        assert_eq!(describe("core", &progress(4096), 30.0), "core  100 %  batch 2 of 4");
    }
}
