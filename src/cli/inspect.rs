//! `prunelens inspect`.

use std::path::PathBuf;

use clap::Args;

use super::SessionArgs;

#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The prompt; `-` reads it from stdin.
    #[arg(value_name = "PROMPT", required_unless_present = "prompt_flag")]
    pub prompt: Option<String>,
    /// The same as a flag.
    #[arg(long = "prompt", value_name = "TEXT", conflicts_with = "prompt", id = "prompt_flag")]
    pub prompt_flag: Option<String>,
    /// Latents listed for each token in JSON.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write tokens, logits, activations, latents and reconstructions to this safetensors file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Replace the file of --save if it exists.
    #[arg(long, requires = "save")]
    pub force: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}
