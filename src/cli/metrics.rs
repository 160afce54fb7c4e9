//! `prunelens metrics`.

use clap::Args;

use super::SessionArgs;
use crate::{compare::Variant, metrics::MetricName};

#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// What to measure.
    #[arg(value_name = "NAME", value_enum, required = true)]
    pub names: Vec<MetricName>,
    /// Folder for the result files [default: as --results].
    #[arg(long, value_name = "DIR")]
    pub out: Option<std::path::PathBuf>,
    /// Variants to measure, with commas between [default: all that are loaded].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub variants: Vec<Variant>,
    /// Token rows to measure on [default: by the size of the model].
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Tokens in a row [default: 128, or the model's context if that is shorter].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Rows in a batch; SAEBench's mse depends on it [default: 8].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}
