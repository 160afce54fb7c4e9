//! `prunelens train`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, values};
use crate::{model::HookPoint, session::Processing};

#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// Training text (.txt, or .jsonl with "text").
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Where the SAE reads, such as blocks.8.hook_resid_post.
    #[arg(long, value_name = "NAME")]
    pub hook: HookPoint,
    /// Folder for the SAE and its checkpoints.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Read activations as TransformerLens' weight processing gives them: on, off or auto [default: auto].
    #[arg(long, value_name = "WHEN", value_parser = values::processing())]
    pub tl_processing: Option<Processing>,
    /// Do not put BOS tokens between documents and before rows.
    #[arg(long)]
    pub no_bos: bool,
}
