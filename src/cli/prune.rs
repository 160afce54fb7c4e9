//! `prunelens prune model|sae`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ModelArgs, SessionArgs};

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct PruneArgs {
    #[command(subcommand)]
    pub target: PruneTarget,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PruneTarget {
    /// Write a copy of the model with its weights pruned by --compress.
    Model(Box<PruneModelArgs>),
    /// Write a copy of the SAE with its weights pruned by --ratio and --criterion.
    Sae(Box<PruneSaeArgs>),
}

#[derive(Args, Clone, Debug)]
#[command(mut_arg("pruned_model", |arg| arg.hide(true)))]
pub struct PruneModelArgs {
    #[command(flatten)]
    pub output: PruneOutput,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args, Clone, Debug)]
pub struct PruneSaeArgs {
    #[command(flatten)]
    pub output: PruneOutput,
    #[command(flatten)]
    pub session: SessionArgs,
}

#[derive(Args, Clone, Debug)]
pub struct PruneOutput {
    /// Folder to write; it must not exist, or be empty, unless --force is given.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace files that are already in the folder.
    #[arg(long)]
    pub force: bool,
    /// Print the sparsity report as one JSON object.
    #[arg(long)]
    pub json: bool,
}
