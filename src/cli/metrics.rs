//! `prunelens metrics`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SessionArgs;
use crate::compare::Variant;

/// Families of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricName {
    /// Reconstruction, sparsity, and what the model's predictions lose.
    Core,
}

#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Metrics to compute.
    #[arg(value_name = "NAME", value_enum, required = true)]
    pub names: Vec<MetricName>,
    /// Folder for the result files; each metric gets a folder in it [default: as --results].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Variants to measure, separated by commas [default: all that are loaded].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub variants: Vec<Variant>,
    /// Token rows to measure on, in whole batches [default: by the size of the model].
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Tokens in a row [default: 128, or what the model can read].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Rows in a batch; the meaning of SAEBench's mse depends on it [default: 8].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}
