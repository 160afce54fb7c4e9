//! `prunelens study`: many sessions measured by plan. What is measured of one is a cell, a file that is not made twice.

mod diff;
mod init;
mod redundancy;
mod report;
mod rules;
mod slurm;
mod status;
mod work;

use clap::{Args, Subcommand};
use prunelens_core::error::Result;

pub use self::diff::found;
use self::{
    diff::DiffArgs,
    init::InitArgs,
    redundancy::RedundancyArgs,
    report::ReportArgs,
    rules::RulesArgs,
    slurm::SlurmArgs,
    status::{PlanArgs, StatusArgs},
    work::{RunArgs, WorkArgs},
};

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct StudyArgs {
    #[command(subcommand)]
    pub command: StudyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum StudyCommand {
    /// Write a commented study file to edit.
    Init(InitArgs),
    /// Say which cells a study has, which are there, and what the others will take.
    Plan(PlanArgs),
    /// Measure what is not measured yet. Stop it and go on as you like.
    Run(RunArgs),
    /// Say how far a study is, and who works on it.
    Status(StatusArgs),
    /// Write, and with --submit submit, an array job of Slurm.
    Slurm(SlurmArgs),
    /// One of several workers on a study: under Slurm, or any runner that gives an index.
    Work(WorkArgs),
    /// Say what a study's results say together: tables, curves and decisions, as Markdown, HTML and data.
    Report(ReportArgs),
    /// Compare two studies figure by figure: another version of the program, another compression.
    Diff(DiffArgs),
    /// Train SAEs that differ (--vary) on the same tokens of the original model, prune all of them, and lay cost against redundancy.
    Redundancy(Box<RedundancyArgs>),
    /// Compress the model by several rules of equal sparsity, and count the latents that each keeps alive.
    Rules(Box<RulesArgs>),
}

pub fn run(args: &StudyArgs) -> Result<()> {
    match &args.command {
        StudyCommand::Init(args) => init::run(args),
        StudyCommand::Plan(args) => status::plan(args),
        StudyCommand::Run(args) => work::run(args),
        StudyCommand::Status(args) => status::status(args),
        StudyCommand::Slurm(args) => slurm::run(args),
        StudyCommand::Work(args) => work::work_on(args),
        StudyCommand::Redundancy(args) => redundancy::run(args),
        StudyCommand::Rules(args) => rules::run(args),
        StudyCommand::Report(args) => report::run(args),
        StudyCommand::Diff(args) => diff::run(args),
    }
}
