//! The flags of one SAE: those that `--vary` can give several values. Without a value of clap's own a flag that was not given is
//! told from one that was.

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
pub struct SaeArgs {
    /// Kind of SAE [default: topk].
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<ArchitectureName>,
    /// Latents that fire on a token, for topk, batchtopk and matryoshka; of the last two on average [default: 32].
    #[arg(long, value_name = "N")]
    pub k: Option<f64>,
    /// How many of the first latents reconstruct alone as well, ascending, for matryoshka [default: a sixteenth and a quarter].
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub widths: Option<Vec<usize>>,
    /// Number of latents [default: 8 for each dimension of the activations].
    #[arg(long, value_name = "N")]
    pub d_sae: Option<usize>,
    #[command(flatten)]
    pub tuning: SaeTuning,
}

impl SaeArgs {
    pub fn architecture(&self) -> ArchitectureName {
        self.architecture.unwrap_or(ArchitectureName::TopK)
    }
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
pub struct SaeTuning {
    /// Learning rate [default: 7e-4 sqrt(16384 / d_sae)].
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Share of the budget over which the learning rate rises [default: 0.01].
    #[arg(long, value_name = "SHARE")]
    pub warm_up: Option<f64>,
    /// Share of the budget at the end over which it falls to 0 [default: 0.2].
    #[arg(long, value_name = "SHARE")]
    pub decay: Option<f64>,
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
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
    pub ste_to_input: Option<bool>,
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
    /// Tokens without firing after which a latent is dead [default: 200000].
    #[arg(long, value_name = "N")]
    pub dead_after: Option<u64>,
    /// Normalise each token's activation, at inference as well.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
    pub layer_norm: Option<bool>,
    /// Seed of the weights' beginning [default: 0].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}
