//! `prunelens study run` and `prunelens study work`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use prunelens_core::error::{Error, Result};

use crate::{
    cli::setup,
    interrupt, output,
    settings::{ModelSettings, environment, values},
    study::{Done, Group, Study, Worker, claim::Claims, status::Counts},
};

#[derive(Args, Clone, Debug)]
pub struct WorkOptions {
    /// Time between two checkpoints of a cell, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = values::seconds)]
    pub checkpoint_every: f64,
    /// A worker without a sign for so many seconds has died: another takes its cells.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub lease: u64,
    /// How long what cannot be written (a full disk, a folder that is away) is tried again, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = values::seconds)]
    pub patience: f64,
    /// Processor threads to use [default: all].
    #[arg(long, value_name = "N", value_parser = values::threads())]
    pub threads: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What to measure: a study's file, as `prunelens study init` writes one.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder for the cells; what is there is not measured again.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub options: WorkOptions,
}

#[derive(Args, Clone, Debug)]
pub struct WorkArgs {
    /// Folder of the study, as `study slurm` or `study run` began it.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Of this worker among --of, from 0: it takes every so manieth group. Without it: whatever nobody works on.
    #[arg(long, value_name = "I")]
    pub index: Option<usize>,
    /// Workers there are [default: one for each group].
    #[arg(long, value_name = "N", requires = "index", value_parser = clap::value_parser!(u32).range(1..))]
    pub of: Option<u32>,
    #[command(flatten)]
    pub options: WorkOptions,
}

pub fn run(args: &RunArgs) -> Result<()> {
    let study = begin(&args.file, &args.out)?;
    let groups: Vec<&Group> = study.groups.iter().collect();
    work(&study, &groups, &args.options)
}

/// The study of a file, in its folder from now on.
pub fn begin(file: &std::path::Path, folder: &std::path::Path) -> Result<Study> {
    let study = Study::at(file, Some(folder), &environment)?;
    study.keep()?;
    Ok(study)
}

pub fn work_on(args: &WorkArgs) -> Result<()> {
    let folder = std::path::absolute(&args.folder).map_err(|e| Error::io(&args.folder, e))?;
    let study = Study::open(&folder, &environment)?;
    let n = args.of.map_or(study.groups.len(), |n| n as usize).max(1);
    let groups: Vec<&Group> = match args.index {
        Some(index) if index >= n => {
            return Err(Error::Usage(format!("--index {index}: there are {n} workers, from 0 to {}", n - 1)));
        }
        Some(index) => study.groups.iter().skip(index).step_by(n).collect(),
        None => study.groups.iter().collect(),
    };
    work(&study, &groups, &args.options)
}

fn work(study: &Study, groups: &[&Group], options: &WorkOptions) -> Result<()> {
    setup::headless(ModelSettings { threads: options.threads, ..ModelSettings::default() })?;
    let claims = Claims::new(&study.folder, Duration::from_secs(options.lease));
    let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let times = (time(options.checkpoint_every), time(options.patience));
    let mut listener = |line: &str| output::answer(&output::printable(line));
    let worker = Worker::new(study, claims.clone(), times, &mut listener);
    let done = worker.work(groups.iter().copied(), &mut interrupt::tick)?;
    output::answer(&output::printable(&said(&done)))?;
    output::answer(&output::printable(&Counts::of(&study.status(&claims)).to_string()))?;
    match &done.failed[..] {
        [] => Ok(()),
        [(cell, why), ..] => {
            Err(Error::invalid(format!("{} cells could not be measured: {cell}: {why}", done.failed.len())))
        }
    }
}

fn said(done: &Done) -> String {
    let mut text = format!("{} cells measured in {:.0} s, {} were there", done.measured, done.seconds, done.found);
    if !done.elsewhere.is_empty() {
        text += &format!("; others work on {}", done.elsewhere.join(", "));
    }
    if done.passes.saved().is_some() {
        text += &format!("\n{}", done.passes);
    }
    text
}
