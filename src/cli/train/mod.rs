//! `prunelens train`.

mod sae;
mod spec;
mod table;
mod vary;

use std::{path::PathBuf, time::Duration};

use candle_core::DType;
use clap::Args;
use prunelens_core::error::Result;
use serde_json::json;

use self::{
    sae::SaeArgs,
    spec::{budget, train_spec},
    vary::{Variation, hooks, variations},
};
use super::setup;
use crate::{
    interrupt, output,
    settings::{ModelSettings, values},
    training::{self, Finished, FinishedSae, Member, Outcome, RunSpec},
};

#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// Training text: .txt, .jsonl with "text", or a folder of such files; may be given several times.
    #[arg(long, value_name = "PATH", required = true)]
    pub text: Vec<PathBuf>,
    /// Where the SAE reads, such as blocks.8.hook_resid_post; several in one pass: 'blocks.{3,9,15}.hook_resid_post'.
    #[arg(long, value_name = "NAME", num_args = 1.., required = true)]
    pub hook: Vec<String>,
    /// Folder for the SAE, its figures and, until it is done, its checkpoint; of several SAEs a folder each in it.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Several SAEs on one reading of the activations, one for each combination, such as --vary k=16,32,64 --vary seed=0,1: any
    /// flag of the SAE's own that takes one value.
    #[arg(long, value_name = "FLAG=V,V")]
    pub vary: Vec<String>,
    /// Say what it will take, in memory and time, and train nothing.
    #[arg(long)]
    pub plan: bool,
    /// Tokens to train on; the text is gone through as often as needed.
    #[arg(long, value_name = "N", conflicts_with = "minutes", required_unless_present = "minutes")]
    pub tokens: Option<u64>,
    /// Time to train for, instead of --tokens; such a run cannot be repeated to the bit.
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Begin anew instead of going on from the checkpoint of a run that was stopped.
    #[arg(long)]
    pub restart: bool,
    /// Held-out text to measure the finished SAE on [default: the last 5 % of --text, 20,000 tokens at most].
    #[arg(long, value_name = "PATH")]
    pub eval_text: Vec<PathBuf>,
    /// Print the figures as one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sae: SaeArgs,
    #[command(flatten)]
    pub tuning: TuningArgs,
    #[command(flatten)]
    pub model: ModelSettings,
}

/// What all SAEs of a run share.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Text and batches")]
pub struct TuningArgs {
    /// Tokens a step.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub batch: usize,
    /// Tokens among which batches are drawn.
    #[arg(long, value_name = "N", default_value_t = 65536)]
    pub buffer: usize,
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
    /// Memory for activations that are met again in the next pass through the text, in GiB: the GPU's where the model is on one.
    #[arg(long, value_name = "GIB", default_value_t = 2.0)]
    pub cache: f64,
    /// Time between two checkpoints, in seconds; one at least.
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = values::seconds)]
    pub checkpoint_every: f64,
    /// Seed of the order in which tokens come.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub data_seed: u64,
    /// Type the weights are stored as.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = values::dtype())]
    pub save_dtype: DType,
}

impl TrainArgs {
    /// The run that is asked for.
    pub fn run_spec(&self) -> Result<RunSpec<'_>> {
        let hooks = hooks(&self.hook)?;
        let member = |Variation { name, folder, hook, sae }| Member {
            name,
            folder,
            hook,
            settings: Box::new(move |d_in| train_spec(self, &sae, d_in)),
        };
        let tuning = &self.tuning;
        Ok(RunSpec {
            text: self.text.clone(),
            eval_text: self.eval_text.clone(),
            members: variations(self, &hooks)?.into_iter().map(member).collect(),
            hooks,
            out: self.out.clone(),
            plan: self.plan,
            restart: self.restart,
            budget: budget(self),
            context: tuning.context,
            text_tokens: tuning.text_tokens,
            bos: !tuning.no_bos,
            exclude_bos: tuning.exclude_bos,
            cache: (tuning.cache.max(0.0) * f64::from(1 << 30)) as u64,
            // All SAEs are written at once: more often, little else would be done.
            checkpoint_every: Duration::from_secs_f64(tuning.checkpoint_every.max(1.0)),
            data_seed: tuning.data_seed,
            save_dtype: tuning.save_dtype,
        })
    }
}

pub fn run(args: &TrainArgs) -> Result<()> {
    let session = setup::headless(args.model.clone())?.spec;
    match training::run(&args.run_spec()?, &session, &mut interrupt::tick)? {
        Outcome::Planned(plan) => output::answer_as(args.json, &plan.to_json(), || plan.text()),
        Outcome::Trained(finished) => {
            answer(args, &finished)?;
            finished.check()
        }
    }
}

fn answer(args: &TrainArgs, finished: &Finished) -> Result<()> {
    match &finished.saes[..] {
        [] => Ok(()),
        [sae] if finished.asked == 1 => {
            output::answer_as(args.json, &sae.report, || table::table(args, &sae.folder, &sae.report))
        }
        all => {
            let one = |FinishedSae { name, folder, report }: &FinishedSae| {
                let mut out = json!({"name": name, "folder": folder});
                let parts = report.as_object().into_iter().flatten();
                parts.for_each(|(key, value)| out[key] = value.clone());
                out
            };
            let saes: Vec<_> = all.iter().map(one).collect();
            output::answer_as(args.json, &json!({ "saes": saes }), || table::tables(args, all))
        }
    }
}
