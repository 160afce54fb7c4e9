//! `prunelens session init`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use prunelens_core::{
    error::{Error, Result},
    files::{write_atomic, write_new},
};

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
    match force {
        true => write_atomic(path, text.as_bytes()),
        false if path.exists() => Err(Error::file(path, "there is such a file; --force replaces it")),
        false => write_new(path, text.as_bytes()),
    }
}
