//! `prunelens study`: many sessions measured by plan. What is measured of one is a cell, a file that is not made twice.

mod redundancy;
mod rules;

use clap::{Args, Subcommand};
use prunelens_core::error::Result;

use self::{redundancy::RedundancyArgs, rules::RulesArgs};

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct StudyArgs {
    #[command(subcommand)]
    pub command: StudyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum StudyCommand {
    /// Train SAEs that differ (--vary) on the same tokens of the original model, prune all of them, and lay cost against redundancy.
    Redundancy(Box<RedundancyArgs>),
    /// Compress the model by several rules of equal sparsity, and count the latents that each keeps alive.
    Rules(Box<RulesArgs>),
}

pub fn run(args: &StudyArgs) -> Result<()> {
    match &args.command {
        StudyCommand::Redundancy(args) => redundancy::run(args),
        StudyCommand::Rules(args) => rules::run(args),
    }
}
