//! `prunelens presets` and `prunelens session`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Clone, Debug)]
pub struct PresetsArgs {
    /// Print one JSON object, with every preset.
    #[arg(long)]
    pub json: bool,
}

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
