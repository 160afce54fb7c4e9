//! What the interface may ask of the engine. Plain data only.

use std::{path::PathBuf, sync::Arc};

use prunelens_core::{
    edit::Edits,
    generate::Choice,
    sae::{Knob, Setting},
    session::SessionSpec,
};
use prunelens_metrics::{JobSpec, RunFile};

pub type JobId = u64;

/// Control lane: an ordinary queue, never dropped.
#[derive(Clone, Debug)]
pub enum Command {
    Load(Box<SessionSpec>),
    /// Load another session while this one answers, and put it in its place; a newer one of this kind takes its turn.
    Open(Box<SessionSpec>),
    /// Stop loading it.
    StopOpening,
    /// An SAE that was trained in a session like this is its `trained` again.
    Join(PathBuf),
    /// Queue a job; where an earlier one of the same kind was interrupted it goes on from there, and what was measured already is
    /// there at once unless it is to be measured `anew`.
    StartJob {
        id: JobId,
        job: JobSpec,
        /// Of the session on screen when it was asked for.
        of: Arc<SessionSpec>,
        anew: bool,
    },
    /// Let others go first until it is resumed.
    PauseJob(JobId),
    ResumeJob(JobId),
    /// End it for good: nothing is left to go on from.
    CancelJob(JobId),
    /// Change places with the job before it, or after it.
    MoveJob {
        id: JobId,
        earlier: bool,
    },
    /// Write the results of a finished job that could not be written, to another folder if one is named.
    WriteJob {
        id: JobId,
        folder: Option<PathBuf>,
    },
    /// Throw away what an interrupted job of this session left.
    ForgetJob {
        job: JobSpec,
        of: Arc<SessionSpec>,
    },
    Quit,
}

/// Interactive lane: one slot a kind; a newer request replaces the one not yet begun and makes the running one stale.
/// Every answer carries the generation of the request it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub generation: u64,
    pub query: Query,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// A new prompt, with the setting to show it at.
    Compare { text: String, setting: Setting },
    /// The same prompt at another setting of the knob, or of another knob.
    Turn { setting: Setting },
    /// Details of one latent of the shared dictionary at one token.
    ShowLatent { latent: u32, token: usize, knob: Knob },
    /// Everything that the corpus says of a latent of the shared dictionary, and of its match in `trained`; what it says of
    /// `pruned` is read again where it was of another setting.
    Page { latent: u32, setting: Setting },
    /// Latents that have to do with a word.
    Find { word: String },
    /// What the models say comes after a token, with these edits in force.
    Predict { token: usize, edits: Edits },
    /// The atlas that a run wrote this file of.
    Atlas { file: RunFile },
    /// The latents of another prompt, at the setting of the first.
    Beside { text: String, setting: Setting },
    /// A prompt at every layer that there are SAEs of; `None`: it is not wanted any more.
    Layers { prompt: Option<(String, Setting)> },
    /// A text to be continued, or `None` to stop continuing the one under way.
    Generate { task: Option<GenerateTask> },
    /// What a job will take.
    Estimate { job: JobSpec },
}

/// A text to be continued by both models, and by each variant where edits are in force.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateTask {
    pub text: String,
    pub edits: Edits,
    /// Of the `pruned` variant.
    pub setting: Setting,
    pub choice: Choice,
    /// Tokens to add at most.
    pub most: usize,
}
