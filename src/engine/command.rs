//! What the interface may ask of the engine. Plain data only.

use std::path::PathBuf;

use prunelens_core::{edit::Edits, sae::Criterion, session::SessionSpec};
use prunelens_metrics::JobSpec;

pub type JobId = u64;

/// Control lane: an ordinary queue, never dropped.
#[derive(Clone, Debug)]
pub enum Command {
    Load(Box<SessionSpec>),
    /// Queue a job; where an earlier one of the same kind was interrupted it goes on from there.
    StartJob {
        id: JobId,
        job: JobSpec,
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
    /// Throw away what an interrupted job left.
    ForgetJob(JobSpec),
    Quit,
}

/// Interactive lane: one slot a kind; a newer request replaces the one not yet begun and makes the running one stale.
/// Every answer carries the generation of the request it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A new prompt, with the ratio to show it at.
    Compare { generation: u64, text: String, ratio: f64, criterion: Criterion },
    /// The same prompt at another ratio or by another criterion.
    SetRatio { generation: u64, ratio: f64, criterion: Criterion },
    /// Details of one latent of the shared dictionary at one token.
    ShowLatent { generation: u64, latent: u32, token: usize, criterion: Criterion },
    /// Everything that the corpus says of a latent of the shared dictionary, and of its match in `trained`.
    Study { generation: u64, latent: u32 },
    /// Latents that have to do with a word.
    Find { generation: u64, word: String },
    /// What the models say comes after a token, with these edits in force.
    Predict { generation: u64, token: usize, edits: Edits },
    /// An atlas from its files.
    Atlas { generation: u64, path: PathBuf },
    /// What a job will take.
    Estimate { generation: u64, job: JobSpec },
}
