//! Training of SAEs: any number of them on one reading of a text, each with its checkpoint and its curve in a folder of its own,
//! and measured on held-out text when all are done.

mod measure;
mod plan;
mod run;
mod teach;
mod text;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use candle_core::DType;
use prunelens_core::{
    error::{Error, Result},
    model::HookPoint,
    train::{Budget, TrainSpec},
};
use serde_json::Value;

pub use self::{plan::Plan, run::run, text::held_out};

/// SAEs to train on one reading of a text.
pub struct RunSpec<'a> {
    /// Files and folders of text to train on.
    pub text: Vec<PathBuf>,
    /// Those to measure on; of none, the end of the text is held out.
    pub eval_text: Vec<PathBuf>,
    /// Where the SAEs read.
    pub hooks: Vec<HookPoint>,
    pub members: Vec<Member<'a>>,
    /// The folder that has the members' folders in it, or is that of the only one.
    pub out: PathBuf,
    /// Say what it takes, and train nothing.
    pub plan: bool,
    /// Begin anew where there are checkpoints; refused where an SAE is finished.
    pub restart: bool,
    /// The same for all members.
    pub budget: Budget,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// Tokens of the text that are used; all if not given.
    pub text_tokens: Option<usize>,
    /// Whether rows begin with BOS.
    pub bos: bool,
    /// Leave activations of special tokens out.
    pub exclude_bos: bool,
    /// Bytes of activations that are kept for the next pass through the text.
    pub cache: u64,
    pub checkpoint_every: Duration,
    /// Of the order in which tokens come.
    pub data_seed: u64,
    /// Type that weights are stored as.
    pub save_dtype: DType,
}

/// One SAE of a run.
pub struct Member<'a> {
    /// What tells it from the others: "k16-seed0"; empty if there are no others.
    pub name: String,
    /// Where it goes.
    pub folder: PathBuf,
    /// Number of its hook among the hooks.
    pub hook: usize,
    /// Its settings for activations of so many dimensions, which are known when the model is.
    pub settings: Box<dyn Fn(usize) -> Result<TrainSpec> + 'a>,
}

impl Member<'_> {
    fn is_finished(&self) -> bool {
        is_finished(&self.folder)
    }
}

/// Whether a folder holds a finished SAE: its config is written last.
fn is_finished(folder: &Path) -> bool {
    folder.join("cfg.json").exists()
}

/// What came of a run.
pub enum Outcome {
    /// What it would take.
    Planned(Plan),
    Trained(Finished),
}

/// SAEs in their folders; and what went wrong.
pub struct Finished {
    pub saes: Vec<FinishedSae>,
    /// How many were to be trained.
    pub asked: usize,
    failed: Vec<String>,
}

/// An SAE in its folder, with its report.
pub struct FinishedSae {
    pub name: String,
    pub folder: PathBuf,
    pub report: Value,
}

impl Finished {
    /// Some came to nothing: said when the others are in their places.
    pub fn check(&self) -> Result<()> {
        match self.failed.len() {
            0 => Ok(()),
            n => Err(Error::invalid(format!("{n} of {} SAEs came to nothing: {}", self.asked, self.failed.join("; ")))),
        }
    }
}
