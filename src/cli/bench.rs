//! `prunelens bench`.

use clap::Args;

use super::SessionArgs;

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Random weights of this shape, made in memory, instead of a session.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "sae", "session"])]
    pub shape: Option<String>,
    /// Layer the SAE reads, with --shape [default: 8].
    #[arg(long, value_name = "L", requires = "shape")]
    pub layer: Option<usize>,
    /// Latents of the SAE, with --shape [default: 24576].
    #[arg(long, value_name = "N", requires = "shape")]
    pub d_sae: Option<usize>,
    /// Tokens of the prompt [default: 32].
    #[arg(long, value_name = "T")]
    pub tokens: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}
