//! `prunelens train`.

mod run;
mod spec;

use std::path::PathBuf;

use candle_core::DType;
use clap::{Args, ValueEnum};
use prunelens_core::{error::Result, model::HookPoint};

use super::setup;
use crate::{
    interrupt,
    settings::{ModelSettings, values},
};

#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// Training text: .txt, .jsonl with "text", or a folder of such files; may be given several times.
    #[arg(long, value_name = "PATH", required = true)]
    pub text: Vec<PathBuf>,
    /// Where the SAE reads, such as blocks.8.hook_resid_post.
    #[arg(long, value_name = "NAME")]
    pub hook: HookPoint,
    /// Folder for the SAE, its figures and, until it is done, its checkpoint.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Kind of SAE.
    #[arg(long, value_name = "NAME", default_value = "topk")]
    pub architecture: ArchitectureName,
    /// Latents that fire on a token, for topk, batchtopk and matryoshka; of the last two on average [default: 32].
    #[arg(long, value_name = "N")]
    pub k: Option<f64>,
    /// How many of the first latents reconstruct alone as well, ascending, for matryoshka [default: a sixteenth and a quarter].
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub widths: Option<Vec<usize>>,
    /// Number of latents [default: 8 for each dimension of the activations].
    #[arg(long, value_name = "N")]
    pub d_sae: Option<usize>,
    /// Tokens to train on; the text is gone through as often as needed.
    #[arg(long, value_name = "N", conflicts_with = "minutes", required_unless_present = "minutes")]
    pub tokens: Option<u64>,
    /// Time to train for, instead of --tokens; such a run cannot be repeated to the bit.
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Stop with Ctrl-C, go on with this: needs the same settings.
    #[arg(long)]
    pub resume: bool,
    /// Held-out text to measure the finished SAE on [default: the last 5 % of --text, 20,000 tokens at most].
    #[arg(long, value_name = "PATH")]
    pub eval_text: Vec<PathBuf>,
    /// Print the figures as one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub tuning: TuningArgs,
    #[command(flatten)]
    pub model: ModelSettings,
}

/// Kinds of SAE that can be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchitectureName {
    /// The k largest latents of each token.
    #[value(name = "topk")]
    TopK,
    /// ReLU with an L1 penalty.
    Standard,
    /// The largest latents of a batch; saved as jumprelu.
    #[value(name = "batchtopk")]
    BatchTopK,
    /// Latents above thresholds that are learnt.
    #[value(name = "jumprelu")]
    JumpRelu,
    /// One part of a latent says whether it fires, another how strongly.
    Gated,
    /// batchtopk whose first latents reconstruct alone as well; saved as jumprelu.
    Matryoshka,
}

/// Sparsity losses of jumprelu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SparsityName {
    /// The number of active latents.
    Step,
    /// The tanh of each latent.
    Tanh,
    /// The square of how far their number is from --target-l0.
    Quadratic,
}

/// Lengths of the decoder's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecoderName {
    /// All 1.
    Unit,
    /// Any, as SAELens 6 trains them.
    Free,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tuning")]
pub struct TuningArgs {
    /// Tokens a step.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub batch: usize,
    /// Tokens among which batches are drawn.
    #[arg(long, value_name = "N", default_value_t = 65536)]
    pub buffer: usize,
    /// Learning rate [default: 7e-4 sqrt(16384 / d_sae)].
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Share of the budget over which the learning rate rises.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub warm_up: f64,
    /// Share of the budget at the end over which it falls to 0.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub decay: f64,
    /// Weight of the L1 penalty; activations are scaled to a mean length of sqrt(d_in) [default: standard 5, gated 1].
    #[arg(long, value_name = "WEIGHT")]
    pub l1: Option<f64>,
    /// Share of the budget over which the L1 penalty rises [default: standard 0.05, gated 0].
    #[arg(long, value_name = "SHARE")]
    pub l1_warm_up: Option<f64>,
    /// Weight of the sparsity loss of jumprelu [default: 1].
    #[arg(long, value_name = "WEIGHT")]
    pub l0: Option<f64>,
    /// Share of the budget over which it rises [default: 0].
    #[arg(long, value_name = "SHARE")]
    pub l0_warm_up: Option<f64>,
    /// Which sparsity loss jumprelu has [default: step].
    #[arg(long, value_name = "NAME")]
    pub l0_loss: Option<SparsityName>,
    /// Latents wanted on a token, for --l0-loss quadratic.
    #[arg(long, value_name = "N")]
    pub target_l0: Option<f64>,
    /// Factor on latents inside the tanh of --l0-loss tanh [default: 4].
    #[arg(long, value_name = "FACTOR")]
    pub tanh_scale: Option<f64>,
    /// What the thresholds of jumprelu begin at [default: 0.01].
    #[arg(long, value_name = "VALUE")]
    pub threshold: Option<f64>,
    /// Width of the band around a threshold that its gradient is estimated in, for jumprelu [default: 0.05].
    #[arg(long, value_name = "WIDTH")]
    pub bandwidth: Option<f64>,
    /// Let that estimate reach the encoder too, for jumprelu.
    #[arg(long)]
    pub ste_to_input: bool,
    /// Weight of the loss that pulls dead latents up to their thresholds, for jumprelu [default: 0].
    #[arg(long, value_name = "WEIGHT")]
    pub dead_pull: Option<f64>,
    /// Share of each step in the threshold that batchtopk and matryoshka are saved with [default: 0.01].
    #[arg(long, value_name = "SHARE")]
    pub threshold_rate: Option<f64>,
    /// Lengths of the decoder's rows [default: unit for topk and standard, free for the others].
    #[arg(long, value_name = "NAME")]
    pub decoder: Option<DecoderName>,
    /// Cut longer gradients to this length; 0: never [default: 1 for the kinds whose decoder is free by default, else 0].
    #[arg(long, value_name = "LENGTH")]
    pub clip: Option<f64>,
    /// Weight of the auxiliary loss, in which dead latents reconstruct the error, for topk, batchtopk and matryoshka; 0: none
    /// [default: topk 1/32, else 1].
    #[arg(long, value_name = "WEIGHT")]
    pub auxiliary: Option<f64>,
    /// Dead latents that take part for each token [default: half the dimensions of the activations].
    #[arg(long, value_name = "N")]
    pub auxiliary_k: Option<usize>,
    /// Tokens without firing after which a latent is dead.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub dead_after: u64,
    /// Normalise each token's activation, at inference as well.
    #[arg(long)]
    pub layer_norm: bool,
    /// Tokens in a row of text [default: 256, or the model's context if that is shorter].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Use that many tokens of the text, drawn at random, and go through them as often as needed.
    #[arg(long, value_name = "N")]
    pub text_tokens: Option<usize>,
    /// Leave activations of BOS and other special tokens out of training: in many models they are hundreds of times as large.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub exclude_bos: bool,
    /// Do not put BOS tokens between documents and before rows.
    #[arg(long)]
    pub no_bos: bool,
    /// Memory for activations that are met again in the next pass through the text, in GiB.
    #[arg(long, value_name = "GIB", default_value_t = 2.0)]
    pub cache: f64,
    /// Minutes between checkpoints.
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    pub checkpoint_every: f64,
    /// Seed of all that is random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Type the weights are stored as.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = values::dtype())]
    pub save_dtype: DType,
}

pub fn run(args: &TrainArgs) -> Result<()> {
    let spec = setup::headless(args.model.clone())?.spec;
    run::run(args, &spec, &mut interrupt::tick)
}
