//! `prunelens study report`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{error::Result, files::write_under};

use crate::{
    export::study::report::Report,
    output, settings,
    study::{
        Study,
        decide::{by_session, sentence},
        results::Results,
    },
};

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Folder of a study.
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// Folder for report.html, report.md with its charts, and figures.csv, .json and .parquet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the decisions as one JSON array.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &ReportArgs) -> Result<()> {
    let study = Study::open(&args.study, &settings::environment)?;
    let results = Results::of(&study);
    let report = Report::of(&study, &results);
    let sentences = by_session(&report.decided).map(|(session, layers)| format!("{session}: {}", sentence(layers)));
    let mut said: Vec<String> = sentences.collect();
    if !results.missing.is_empty() {
        let all = results.missing.len() + results.measured.len();
        said.push(format!("{} of {all} cells are not measured yet", results.missing.len()));
    }
    let written = write_under(&args.out, report.files()?)?;
    let beside = written.iter().filter(|path| path.parent() == Some(args.out.as_path()));
    said.extend(beside.map(|path| format!("written: {}", path.display())));
    output::answer_as(args.json, &report.decided, || said.join("\n"))
}
