//! Flags that say what to load; the same for every command that loads something.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    model::HookPoint,
    prune::Criterion,
    session::{Compress, DeviceSpec, Processing},
};

use crate::settings::values;

/// Models: what `train` and `prune model` need, too.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Session")]
pub struct ModelArgs {
    /// Session file (TOML) with any of these settings, or the name of a preset; flags override it.
    #[arg(long, value_name = "FILE-or-NAME")]
    pub session: Option<PathBuf>,
    /// Original model: a Hugging Face folder, or a hub id such as openai-community/gpt2 [default: the demo].
    #[arg(long, value_name = "PATH-or-ID")]
    pub model: Option<PathBuf>,
    /// A model pruned elsewhere, instead of --compress.
    #[arg(long, value_name = "PATH-or-ID", conflicts_with = "compress")]
    pub pruned_model: Option<PathBuf>,
    /// How to prune the model: wanda:RATIO, wanda:N:M, magnitude:RATIO, paper:RATIO or none [default: wanda:0.5].
    #[arg(long, value_name = "SPEC")]
    pub compress: Option<Compress>,
    /// Calibration text or tokens: .txt, .jsonl ("text") or .safetensors ("tokens") [default: built in].
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N [default: auto].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceSpec>,
    /// Type of the model's weights [default: f32].
    #[arg(long, value_name = "TYPE", value_parser = values::dtype())]
    pub dtype: Option<candle_core::DType>,
    /// Processor threads to use [default: all].
    #[arg(long, value_name = "N", value_parser = values::threads())]
    pub threads: Option<u64>,
    /// Never touch the network: take only what is on this machine.
    #[arg(long)]
    pub offline: bool,
}

/// Models, SAEs and how to read them: shared by explore, render, inspect, metrics and bench.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Session")]
pub struct SessionArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Pretrained SAE: a folder or file, or a hub id [default: the demo's, with the demo model].
    #[arg(long, value_name = "PATH-or-ID")]
    pub sae: Option<PathBuf>,
    /// SAE trained on the pruned model.
    #[arg(long, value_name = "PATH-or-ID")]
    pub trained_sae: Option<PathBuf>,
    /// Where the SAE reads, such as blocks.8.hook_resid_post [default: as the SAE's config says].
    #[arg(long, value_name = "NAME")]
    pub hook: Option<HookPoint>,
    /// Share of the SAE's weights set to zero, 0 to 0.99 [default: 0.25].
    #[arg(long, value_name = "R", value_parser = values::ratio)]
    pub ratio: Option<f64>,
    /// How the SAE's weights are ranked for pruning [default: wanda].
    #[arg(long, value_name = "NAME", value_parser = values::criterion())]
    pub criterion: Option<Criterion>,
    /// Read activations as TransformerLens' weight processing gives them [default: auto].
    #[arg(long, value_name = "WHEN", value_parser = values::processing())]
    pub tl_processing: Option<Processing>,
    /// Average-norm factor of an SAE whose files lack it (SAELens' expected_average_only_in).
    #[arg(long, value_name = "F", value_parser = values::factor)]
    pub norm_scaling_factor: Option<f64>,
    /// Do not put a BOS token before the prompt.
    #[arg(long)]
    pub no_bos: bool,
    /// Text or tokens for metric jobs: .txt, .jsonl ("text") or .safetensors ("tokens") [default: built in].
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Folder for result files [default: see `prunelens doctor`].
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Where the explorer's metric jobs run, with copies of models and SAEs: cpu, cuda or cuda:N [default: --device].
    #[arg(long, value_name = "DEVICE")]
    pub jobs_device: Option<DeviceSpec>,
}
