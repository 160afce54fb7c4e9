//! The command line: types for clap, no logic.

pub mod bench;
pub mod data;
pub mod display;
pub mod entities;
pub mod inspect;
pub mod metrics;
pub mod presets;
pub mod prune;
pub mod render;
pub mod session;
pub mod train;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use bench::BenchArgs;
pub use data::DataArgs;
pub use display::{ColorChoice, DisplayArgs};
pub use entities::EntitiesArgs;
pub use inspect::InspectArgs;
pub use metrics::{MetricsArgs, MetricsCommand, ShowArgs};
pub use presets::{PresetsArgs, SessionFileArgs, SessionInitArgs, SessionTask};
pub use prune::{PruneArgs, PruneModelArgs, PruneSaeArgs, PruneTarget};
pub use render::RenderArgs;
pub use session::{ModelArgs, SessionArgs};
pub use train::TrainArgs;

/// See, in a terminal, what happens to a sparse autoencoder's latents when the language model under it is pruned.
///
/// With no command the explorer opens; with no flags it opens the demo that is compiled into the program.
#[derive(Debug, Parser)]
#[command(name = "prunelens", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub explore: ExploreArgs,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted.
The answer goes to stdout and nothing else does; progress goes to stderr, and only if that is a terminal.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the explorer (what no command does, too).
    Explore(Box<ExploreArgs>),
    /// Read one prompt through every variant: a table, JSON, or tensors in a file.
    Inspect(Box<InspectArgs>),
    /// Write a pruned checkpoint or a pruned SAE, with a report of its sparsity.
    Prune(PruneArgs),
    /// Train an SAE on the activations of a pruned model.
    Train(Box<TrainArgs>),
    /// Measure the variants as SAEBench does; writes SAEBench-shaped JSON.
    Metrics(Box<MetricsArgs>),
    /// Turn what you have into the data sets that metrics are measured on.
    Data(Box<DataArgs>),
    /// Time what the explorer does, step by step.
    Bench(Box<BenchArgs>),
    /// Draw the explorer without a terminal, from scripted keys.
    Render(Box<RenderArgs>),
    /// List sessions that can be opened by name: models of the hub with their SAEs.
    Presets(PresetsArgs),
    /// Write session files.
    Session(SessionFileArgs),
    /// Say what this program finds on this machine: device, memory, terminal, folders.
    Doctor(Box<DoctorArgs>),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands into a folder.
    Man(ManArgs),
}

/// The explorer's own flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ExploreArgs {
    /// A prompt to begin with.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub session: SessionArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Load the session, too, and say what uses how much memory.
    #[arg(long)]
    pub load: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}

#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write one page a command into this folder instead.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
