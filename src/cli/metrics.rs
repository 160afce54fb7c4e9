//! `prunelens metrics`.

use clap::Args;

use super::SessionArgs;

#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Metrics to compute: core.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}
