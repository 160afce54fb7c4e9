//! `prunelens bench`.

use clap::Args;
use prunelens_core::{error::Result, session::Session};

use super::setup;
use crate::{
    bench::{self, Options},
    interrupt, output,
    settings::SessionSettings,
};

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Random weights of this shape, made in memory, instead of a session; the SAE reads --layer [default: 8].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "sae", "session"])]
    pub shape: Option<String>,
    /// Latents of the SAE, with --shape; several with commas between them [default: 24576].
    #[arg(long, value_name = "N", requires = "shape", value_delimiter = ',')]
    pub d_sae: Vec<usize>,
    /// Tokens of the prompt [default: 32].
    #[arg(long, value_name = "T")]
    pub tokens: Option<usize>,
    /// Leave out the pruning of a whole model, which is timed on a GPU with --shape.
    #[arg(long, requires = "shape")]
    pub no_wanda: bool,
    /// Time the training of SAEs instead: reading, steps, both together, and cores busy; of one SAE and of four on one reading.
    #[arg(long)]
    pub train: bool,
    /// Print one JSON object for each number of latents, on a line that grows as parts are measured.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionSettings,
}

pub fn run(args: &BenchArgs) -> Result<()> {
    let spec = setup::headless(args.session.clone())?.spec;
    let BenchArgs { shape, d_sae, no_wanda, train, tokens, json, .. } = args.clone();
    let layer = args.session.layer;
    let options = Options { shape, layer, d_sae, no_wanda, train, tokens, json };
    let session = |steps: &mut bench::Steps| {
        let mut told = output::listener();
        Session::load(&spec, &mut |progress| {
            steps.next(&progress.what);
            told(progress)
        })
    };
    output::answer_as_it_comes(|out| {
        bench::run(&options, &spec, session, bench::first_frame, out, &mut interrupt::tick)
    })
}
