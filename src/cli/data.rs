//! `prunelens data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::EntitiesArgs;

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct DataArgs {
    #[command(subcommand)]
    pub target: DataTarget,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DataTarget {
    /// Turn a table of labelled texts into a data set for sparse probing, TPP and (with a second label) SCR.
    Labels(Box<LabelsArgs>),
    /// Turn a table of entities into the files that RAVEL is measured on, keeping what the model knows.
    Entities(Box<EntitiesArgs>),
}

#[derive(Args, Clone, Debug)]
pub struct LabelsArgs {
    /// Tables: .csv, .jsonl, .csv.zst, .jsonl.zst or .parquet.
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// Column with the text.
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    pub text: String,
    /// Column with the label.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub label: String,
    /// Column with the second label, for SCR.
    #[arg(long, value_name = "COLUMN")]
    pub spurious: Option<String>,
    /// Labels to keep, with commas between [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// The two values of the second label that count [default: what is found, if that is two].
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "spurious")]
    pub spurious_values: Vec<String>,
    /// Pairs of classes for SCR, as A:B with commas between [default: the classes two by two].
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "spurious")]
    pub pairs: Vec<String>,
    /// What results call the data set [default: the name of --out].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder to write the data set to.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Share of the texts to test with.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub test_share: f64,
    /// Seed of the split.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}
