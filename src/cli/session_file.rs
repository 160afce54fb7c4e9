//! `prunelens session init`.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use prunelens_core::error::{Error, Result};

use crate::{output, presets, settings};

#[derive(Args, Clone, Debug)]
pub struct SessionFileArgs {
    #[command(subcommand)]
    pub task: SessionTask,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SessionTask {
    /// Write a commented session file to edit.
    Init(SessionInitArgs),
}

#[derive(Args, Clone, Debug)]
pub struct SessionInitArgs {
    /// Where to write it; `-` prints it.
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// What it begins with; `prunelens presets` lists them.
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub preset: String,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

pub fn run(args: &SessionFileArgs) -> Result<()> {
    match &args.task {
        SessionTask::Init(args) => init(args),
    }
}

fn init(args: &SessionInitArgs) -> Result<()> {
    write(&settings::session_file(&presets::find(&args.preset)?), &args.file, args.force)
}

/// A file for the user to edit, which replaces another only by `force`; `-` prints it.
pub fn write(text: &str, path: &Path, force: bool) -> Result<()> {
    if path == Path::new("-") {
        return output::answer(text);
    }
    let mut options = OpenOptions::new();
    options.write(true).create(force).truncate(force).create_new(!force);
    let mut file = options.open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::file(path, "there is such a file; --force replaces it"),
        _ => Error::io(path, e),
    })?;
    file.write_all(text.as_bytes()).map_err(|e| Error::io(path, e))
}
