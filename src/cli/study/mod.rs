//! `prunelens study`: many sessions measured by plan. What is measured of one is a cell, a file that is not made twice.

mod diff;
mod redundancy;
mod report;
mod rules;

use clap::{Args, Subcommand};
use prunelens_core::error::Result;

pub use self::diff::found;
use self::{diff::DiffArgs, redundancy::RedundancyArgs, report::ReportArgs, rules::RulesArgs};

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
    /// Say what a study's results say together: tables, curves and decisions, as Markdown, HTML and data.
    Report(ReportArgs),
    /// Compare two studies figure by figure: another version of the program, another compression.
    Diff(DiffArgs),
}

pub fn run(args: &StudyArgs) -> Result<()> {
    match &args.command {
        StudyCommand::Redundancy(args) => redundancy::run(args),
        StudyCommand::Rules(args) => rules::run(args),
        StudyCommand::Report(args) => report::run(args),
        StudyCommand::Diff(args) => diff::run(args),
    }
}
