//! `prunelens data`.

pub mod entities;
pub mod labels;

use clap::{Args, Subcommand};
use prunelens_core::error::Result;

use self::{entities::EntitiesArgs, labels::LabelsArgs};

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

pub fn run(args: &DataArgs) -> Result<()> {
    match &args.target {
        DataTarget::Labels(args) => labels::run(args),
        DataTarget::Entities(args) => entities::run(args),
    }
}
