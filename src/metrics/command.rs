//! `prunelens metrics NAME...`.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::{
    cli::MetricsArgs,
    data::create_folder,
    error::Result,
    export,
    jobs::{Job, Step, core::CoreJob},
    metrics::core::setup::CoreOptions,
    model::Tick,
    output::{self, ProgressLine, printable},
    session::Session,
};

/// Metric families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricName {
    /// Reconstruction, sparsity, and what the model's predictions lose (SAEBench's core)
    Core,
}

/// Measure, write the files, print the figures. `tick` may stop it (Ctrl-C).
pub fn run(session: &Session, args: &MetricsArgs, tick: Tick) -> Result<()> {
    let folder = args.out.as_ref().unwrap_or(&session.spec.results);
    create_folder(folder)?;
    let mut objects = Map::new();
    let mut names = args.names.clone();
    names.dedup();
    for name in names {
        let mut job: Box<dyn Job> = match name {
            MetricName::Core => Box::new(CoreJob::new(session, &args.core_options())?),
        };
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

impl MetricsArgs {
    fn core_options(&self) -> CoreOptions {
        CoreOptions {
            variants: self.variants.clone(),
            text: None,
            rows: self.rows,
            context: self.context,
            batch: self.batch,
            pruning: None,
        }
    }
}

/// Step a job to its end, with a line of progress on stderr if a person sees it; gives the seconds it took.
fn drive(job: &mut dyn Job, tick: Tick) -> Result<f64> {
    let start = Instant::now();
    let mut line = ProgressLine::new();
    while job.step(tick)? == Step::More {
        line.line(|| describe(job, start.elapsed()));
    }
    let tokens = job.progress().done as f64;
    let seconds = start.elapsed().as_secs_f64();
    line.end(&format!("{}: {tokens} tokens in {seconds:.1} s, {:.0} tokens/s", job.name(), tokens / seconds));
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
