//! `prunelens data entities`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, SessionArgs};

#[derive(Args, Clone, Debug)]
pub struct EntitiesArgs {
    /// Table: .csv, .jsonl, .csv.zst, .jsonl.zst or .parquet. Of rows with one name the first counts.
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// Column with the entities' names.
    #[arg(long, value_name = "COLUMN")]
    pub entity: String,
    /// Columns with what can be asked of them, with commas between.
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    pub attributes: Vec<String>,
    /// What the entities are: part of the files' names, and of the built-in templates.
    #[arg(long, value_name = "NAME")]
    pub class: String,
    /// Folder to write to; the files are in its folder ravel.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// JSON file {attribute: list of templates}, each template with one %s for the entity [default: built in].
    #[arg(long, value_name = "FILE")]
    pub templates: Option<PathBuf>,
    /// Entities to ask about, from the table's start.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
    /// Keep entities of which the model knows only a part, with that part.
    #[arg(long)]
    pub any: bool,
    /// Seed of the splits.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub model: ModelArgs,
}

impl EntitiesArgs {
    /// Its model, as what other commands load has it.
    pub fn session(&self) -> SessionArgs {
        SessionArgs { model: self.model.clone(), ..Default::default() }
    }
}
