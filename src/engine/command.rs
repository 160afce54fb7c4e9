//! What the interface may ask of the engine. Plain data only.

use crate::{jobs::JobSpec, prune::Criterion, session::SessionSpec};

pub type JobId = u64;

/// Control lane: an ordinary queue, never dropped.
#[derive(Clone, Debug)]
pub enum Command {
    Load(Box<SessionSpec>),
    StartJob { id: JobId, job: JobSpec },
    CancelJob(JobId),
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
}
