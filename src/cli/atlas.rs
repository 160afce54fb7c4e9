//! `prunelens atlas report`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use prunelens_core::{error::Result, files::write_under};
use prunelens_metrics::atlas::{
    Atlas,
    report::{Options, Report},
};

use crate::{export::atlas_report, output};

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct AtlasArgs {
    #[command(subcommand)]
    pub command: AtlasCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum AtlasCommand {
    /// Say which latents pruning takes, from atlases of one or several criteria and SAEs, with intervals: Markdown, SVG and JSON.
    Report(ReportArgs),
}

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Folders of `prunelens metrics atlas --out`, or files of atlases in them: of the same rows, model and masks.
    #[arg(value_name = "ATLAS", required = true)]
    pub atlases: Vec<PathBuf>,
    /// Folder for report.md, its charts, and report.json.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the figures as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Latents that fire fewer times do not count.
    #[arg(long, value_name = "N", default_value_t = Options::default().firings)]
    pub firings: u64,
    /// Resamples of each bootstrap.
    #[arg(long, value_name = "N", default_value_t = Options::default().resamples)]
    pub resamples: usize,
    /// Seed of the resamples.
    #[arg(long, value_name = "N", default_value_t = Options::default().seed)]
    pub seed: u64,
    /// Dense: density from this quantile on; rare: below it.
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().dense)]
    pub dense: f64,
    /// Unimportant: importance without its sign below this quantile.
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().important)]
    pub important: f64,
    /// Specific: token entropy below this quantile.
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().specific)]
    pub specific: f64,
    /// Polysemantic: token entropy from this quantile on.
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().polysemantic)]
    pub polysemantic: f64,
}

pub fn run(args: &AtlasArgs) -> Result<()> {
    match &args.command {
        AtlasCommand::Report(args) => report(args),
    }
}

fn report(args: &ReportArgs) -> Result<()> {
    let options = Options {
        firings: args.firings,
        resamples: args.resamples,
        seed: args.seed,
        dense: args.dense,
        important: args.important,
        specific: args.specific,
        polysemantic: args.polysemantic,
        ..Options::default()
    };
    let atlases = args.atlases.iter().map(|path| Atlas::open(path)).collect::<Result<Vec<_>>>()?;
    let report = Report::new(&atlases, options)?;
    let json = output::json(&report)?;
    let files = atlas_report::files(&report).into_iter().chain([("report.json".into(), json.clone() + "\n")]);
    let written = write_under(&args.out, files)?;
    let written: Vec<String> = written.iter().map(|path| format!("written: {}", path.display())).collect();
    if args.json { output::answer(&json) } else { output::answer(&output::printable(&written.join("\n"))) }
}
