//! `prunelens check`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::write_with_folders,
};

use crate::{
    cli::study::found,
    export::study::checked,
    output, settings,
    study::{
        Study,
        check::{check, counts},
        results::Results,
    },
};

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A study's file, or the folder of one that was begun.
    #[arg(value_name = "FILE-or-DIR")]
    pub study: PathBuf,
    /// Folder with the cells of a file [default: study].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder of the study that figures may be worse than by a bound's `worse`.
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Write the outcome as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the outcome as a page of Markdown.
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// Print the outcome as one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &CheckArgs) -> Result<()> {
    let study = Study::at(&args.study, args.out.as_deref(), &settings::environment)?;
    let results = Results::of(&study);
    let baseline = args.baseline.as_deref().map(found).transpose()?;
    let outcomes = check(&study, &results, baseline.as_ref())?;
    if let Some(path) = &args.junit {
        write_with_folders(path, checked::junit(&outcomes).as_bytes())?;
    }
    if let Some(path) = &args.page {
        write_with_folders(path, checked::markdown(&outcomes).as_bytes())?;
    }
    output::answer_as(args.json, &outcomes, || checked::text(&outcomes))?;
    match counts(&outcomes) {
        (0, 0) => Ok(()),
        (broken, unknown) => Err(Error::file(
            &args.study,
            format!("{broken} of {} bounds broken, {unknown} that cannot be told", outcomes.len()),
        )),
    }
}
