//! The command line: one file or folder a command, with its arguments and its run.

pub mod atlas;
pub mod bench;
pub mod cache;
pub mod check;
pub mod data;
pub mod doctor;
mod edits;
pub mod explore;
pub mod generate;
pub mod inspect;
pub mod metrics;
pub mod pages;
pub mod presets;
pub mod prune;
pub mod render;
pub mod session_file;
mod setup;
pub mod study;
pub mod tour;
pub mod train;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use prunelens_core::error::Result;

use self::{
    atlas::AtlasArgs,
    bench::BenchArgs,
    cache::CacheArgs,
    check::CheckArgs,
    data::DataArgs,
    doctor::DoctorArgs,
    explore::ExploreArgs,
    generate::GenerateArgs,
    inspect::InspectArgs,
    metrics::MetricsArgs,
    pages::{CompletionsArgs, ManArgs},
    presets::PresetsArgs,
    prune::PruneArgs,
    render::RenderArgs,
    session_file::SessionFileArgs,
    study::StudyArgs,
    tour::TourArgs,
    train::TrainArgs,
};
use crate::built;

/// See, in a terminal, what happens to a sparse autoencoder's latents when the language model under it is pruned.
///
/// With no command the explorer opens; with no flags it opens the demo that is compiled into the program.
#[derive(Debug, Parser)]
#[command(name = "prunelens", version, long_version = built::long_version(), args_conflicts_with_subcommands = true, max_term_width = 110)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub explore: ExploreArgs,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted.
The answer goes to stdout and nothing else does; warnings go to stderr, and progress if that is a terminal.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the explorer (what no command does, too).
    Explore(Box<ExploreArgs>),
    /// Open the explorer on its demo with a guide: ten steps that can be interrupted and gone on with.
    Tour(TourArgs),
    /// Read one prompt through every variant: a table, JSON, or tensors in a file; or say what a model's files hold.
    Inspect(Box<InspectArgs>),
    /// Continue a prompt with both models, and with each variant while latents are edited.
    Generate(Box<GenerateArgs>),
    /// Write a compressed checkpoint or a pruned SAE, with a report of its sparsity.
    #[command(visible_alias = "compress")]
    Prune(PruneArgs),
    /// Train an SAE on the activations of a pruned model.
    Train(Box<TrainArgs>),
    /// Measure the variants as SAEBench does; writes SAEBench-shaped JSON.
    Metrics(Box<MetricsArgs>),
    /// Say what atlases of latents show: which of them pruning takes.
    Atlas(AtlasArgs),
    /// Measure many sessions by plan: SAEs of other redundancy, other rules of pruning.
    Study(StudyArgs),
    /// Say whether a study is within the bounds of its file, for the tests of a model's makers: exit code 1 if not.
    Check(CheckArgs),
    /// Turn what you have into the data sets that metrics are measured on.
    Data(Box<DataArgs>),
    /// Time what the explorer does, step by step.
    Bench(Box<BenchArgs>),
    /// Draw the explorer without a terminal, from scripted keys.
    Render(Box<RenderArgs>),
    /// List sessions that can be opened by name: models of the hub with their SAEs.
    Presets(PresetsArgs),
    /// Show what is kept of what took long to make, or remove it.
    Cache(CacheArgs),
    /// Write session files.
    Session(SessionFileArgs),
    /// Say what this program finds on this machine: device, memory, terminal, folders.
    Doctor(Box<DoctorArgs>),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands into a folder.
    Man(ManArgs),
}

/// A number below zero is the value of the flag before it, which says what it takes, and no flag of its own.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes =
        |arg: &clap::Arg| arg.get_action().takes_values() && arg.get_num_args().is_none_or(|n| n.takes_values());
    let all = command.mut_args(|arg| if takes(&arg) { arg.allow_negative_numbers(true) } else { arg });
    all.mut_subcommands(with_negative_numbers)
}

impl Cli {
    /// What this process was asked for.
    pub fn asked() -> Result<Self, clap::Error> {
        let mut command = with_negative_numbers(Self::command());
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }

    /// Do what was asked for.
    pub fn run(self) -> Result<()> {
        match self.command.unwrap_or_else(|| Command::Explore(Box::new(self.explore))) {
            Command::Explore(args) => explore::run(&args),
            Command::Tour(args) => tour::run(&args),
            Command::Render(args) => render::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Generate(args) => generate::run(&args),
            Command::Prune(args) => prune::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Metrics(args) => metrics::run(&args),
            Command::Atlas(args) => atlas::run(&args),
            Command::Study(args) => study::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Data(args) => data::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Presets(args) => presets::run(&args),
            Command::Cache(args) => cache::run(&args),
            Command::Session(args) => session_file::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Completions(args) => pages::completions(&args),
            Command::Man(args) => pages::man(&args),
        }
    }
}
