//! `prunelens metrics NAME...`.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::{
    compare::Variant,
    data::create_folder,
    error::{Error, Result},
    export,
    jobs::{Job, Step, core::CoreJob},
    metrics::core::setup::CoreOptions,
    model::Tick,
    session::Session,
};

/// Metric families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricName {
    /// Reconstruction, sparsity, and what the model's predictions lose (SAEBench's core)
    Core,
}

#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// What to measure
    #[arg(value_name = "NAME", value_enum, required = true)]
    pub names: Vec<MetricName>,
    /// Folder for result files in SAEBench's shape; they go to OUT/NAME/ [default: the session's results folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Variants to measure, with commas between [default: all that are loaded]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub variants: Vec<Variant>,
    /// Text or tokens to measure on: .txt, .jsonl ("text") or .safetensors ("tokens") [default: built-in held-out text]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Token rows to measure on [default: by the size of the model]
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Tokens in a row [default: 128, or the model's context if that is shorter]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Rows in a batch; SAEBench's mse depends on it [default: 8]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
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
        drive(&mut *job, tick)?;
        let files = job.finish(folder)?;
        let table = job.table();
        if args.json {
            let mut object = export::table::json(&table);
            object["files"] = files.iter().map(|path| path.display().to_string()).collect();
            objects.insert(job.name().to_owned(), object);
        } else {
            let mut text = export::table::text(&table);
            files.iter().for_each(|path| text += &format!("written: {}\n", path.display()));
            print(&text)?;
        }
    }
    if args.json { print(&format!("{:#}\n", Value::Object(objects))) } else { Ok(()) }
}

impl MetricsArgs {
    fn core_options(&self) -> CoreOptions {
        CoreOptions {
            variants: self.variants.clone(),
            text: self.text.clone(),
            rows: self.rows,
            context: self.context,
            batch: self.batch,
            pruning: None,
        }
    }
}

/// Step a job to its end, with a line of progress on stderr if a person sees it.
fn drive(job: &mut dyn Job, tick: Tick) -> Result<()> {
    let start = Instant::now();
    let mut line = ProgressLine::new();
    while job.step(tick)? == Step::More {
        line.show(job, start.elapsed());
    }
    let tokens = job.progress().done as f64;
    let seconds = start.elapsed().as_secs_f64();
    line.end(&format!("{}: {tokens} tokens in {seconds:.1} s, {:.0} tokens/s", job.name(), tokens / seconds));
    Ok(())
}

/// One line that is written over again and again.
struct ProgressLine {
    terminal: bool,
    shown: Option<Duration>,
}

impl ProgressLine {
    const EVERY: Duration = Duration::from_millis(100);

    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, job: &dyn Job, elapsed: Duration) {
        if !self.terminal || self.shown.is_some_and(|shown| elapsed < shown + Self::EVERY) {
            return;
        }
        self.shown = Some(elapsed);
        let progress = job.progress();
        let share = progress.done as f64 / progress.total.max(1) as f64;
        let left = if share > 0.0 { elapsed.as_secs_f64() * (1.0 - share) / share } else { f64::NAN };
        let left =
            if left > 0.0 { format!("{:.0}:{:02.0} left", (left / 60.0).floor(), left % 60.0) } else { String::new() };
        self.write(&format!("{} {:3.0} %  {}  {left}", job.name(), 100.0 * share, progress.note));
    }

    fn end(&mut self, summary: &str) {
        if self.terminal {
            self.write(summary);
            let _ = writeln!(io::stderr());
        }
    }

    /// Progress that cannot be shown is no reason to stop.
    fn write(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}

/// A reader that went away (`| head`) has what it wanted.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("stdout", error)),
        _ => Ok(()),
    }
}
