//! What the engine tells the interface. Plain data only.

use std::{path::PathBuf, sync::Arc};

use super::command::JobId;
use crate::{
    compare::{Comparison, LatentDetail, Variant},
    metrics::MetricTable,
    progress::Progress,
    prune::Criterion,
};

#[derive(Clone, Debug)]
pub enum Report {
    /// A long step of loading: what, how far, of how much (0: unknown), in which unit ("bytes", "layers", "tokens").
    Loading(Progress),
    /// The session is ready for requests.
    Ready(Arc<SessionInfo>),
    /// Loading failed; the engine waits for another `Load`.
    LoadFailed(String),
    /// A comparison, possibly with parts still missing (they follow under the same generation).
    /// `complete` says that nothing follows.
    Comparison {
        generation: u64,
        comparison: Arc<Comparison>,
        complete: bool,
    },
    Latent {
        generation: u64,
        detail: Arc<LatentDetail>,
    },
    /// A request that could not be answered, such as a prompt longer than the context.
    RequestFailed {
        generation: u64,
        message: String,
    },
    Job {
        id: JobId,
        state: JobState,
    },
    /// Partial or final results of a job.
    JobTable {
        id: JobId,
        table: Arc<MetricTable>,
    },
    /// What uses how much memory, after it changed.
    Memory(Vec<(String, u64)>),
    /// The engine thread panicked; nothing more will come.
    Crashed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    Queued,
    Running {
        done: u64,
        total: u64,
        unit: &'static str,
        seconds: f64,
        note: String,
    },
    /// Result files written, if any.
    Done {
        seconds: f64,
        files: Vec<PathBuf>,
    },
    Failed(String),
    Cancelled,
}

/// What is loaded, for the header and the status line.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionInfo {
    /// "demo", or the directory's name.
    pub model: String,
    pub parameters: u64,
    /// "wanda 50%", "none" ...
    pub compression: String,
    pub hook: String,
    /// "2k topk32", "24k standard" ...
    pub sae: String,
    pub d_sae: usize,
    pub n_layers: usize,
    pub variants: Vec<Variant>,
    pub ratio: f64,
    pub criterion: Criterion,
    pub criteria: Vec<Criterion>,
    /// Longest prompt in tokens, BOS included.
    pub context: usize,
    /// "cpu 2 threads", "cuda:0 H200" ...
    pub device: String,
    pub dtype: String,
    /// "raw", "centered" or "tl".
    pub space: String,
    pub memory: Vec<(String, u64)>,
    /// Three prompts worth trying.
    pub examples: Vec<String>,
    /// How long the comparison of a short prompt took at loading, in milliseconds: beyond about 500 the explorer waits for Enter.
    pub probe_ms: f64,
    /// Warnings met while loading, for the log and the status line.
    pub warnings: Vec<String>,
}
