//! What the engine tells the interface. Plain data only.

use std::{path::PathBuf, sync::Arc};

use prunelens_core::{
    compare::{
        Comparison, LatentDetail, LayerFigures, Variant,
        predict::{Predictions, Speaker},
    },
    generate::Written,
    index::LatentPage,
    progress::Progress,
    sae::{Criterion, Setting},
    session::SessionSpec,
};
use prunelens_metrics::{Detail, Estimate, JobSpec, Kind, MetricTable, Run, RunFile, atlas::Atlas};

use super::{command::JobId, memory::MemoryUse};

#[derive(Clone, Debug)]
pub enum Report {
    /// A long step of loading: what, how far, of how much (0: unknown), in which unit ("bytes", "layers", "tokens").
    Loading(Progress),
    /// The session is ready for requests.
    Ready(Arc<SessionInfo>),
    /// The session has another `trained` variant from now on; what was asked of it before is void. It was `asked` for by
    /// `Command::Join`, or a job has trained it.
    Joined {
        info: Arc<SessionInfo>,
        asked: bool,
    },
    /// A session that is not on screen has another `trained` variant: in words.
    JoinedElsewhere(String),
    /// The SAE that a view was saved with cannot be had: why.
    NotJoined(String),
    /// How far another session is that is being loaded; this one answers meanwhile.
    Opening(Progress),
    /// Another session has taken its place: what was asked before is void.
    Opened {
        info: Arc<SessionInfo>,
        /// As it was asked for.
        spec: Arc<SessionSpec>,
    },
    /// It could not be loaded: this session stays.
    OpenFailed(String),
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
    /// So many rows of the corpus are read, of how many.
    Reading {
        read: usize,
        of: usize,
    },
    /// Examples of latents are known from now on, as far as they can be: every detail that was sent has them.
    Indexed,
    /// A latent over the corpus; again as more of it is read.
    Page {
        generation: u64,
        page: Arc<LatentPage>,
    },
    /// Latents that have to do with the word asked for.
    Found {
        generation: u64,
        hits: Vec<Hit>,
    },
    Predictions {
        generation: u64,
        predictions: Arc<Predictions>,
    },
    Atlas {
        generation: u64,
        atlas: Arc<Atlas>,
    },
    /// A prompt at one layer, or why there are no figures of it.
    Layer {
        generation: u64,
        layer: usize,
        figures: Result<Arc<LayerFigures>, String>,
    },
    /// That were all layers.
    Layers {
        generation: u64,
    },
    /// The latents of the second prompt.
    Beside {
        generation: u64,
        comparison: Arc<Comparison>,
    },
    /// A text is being continued, by these; what they write follows.
    Generating {
        generation: u64,
        by: Vec<Speaker>,
    },
    /// What one of them wrote, and in how many seconds.
    Generated {
        generation: u64,
        of: Speaker,
        written: Written,
        seconds: f64,
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
        details: Arc<Vec<Detail>>,
    },
    /// Something about a job that its state does not say: a smaller batch, a state it goes on from.
    JobRemark {
        id: JobId,
        text: String,
    },
    /// What a job will take.
    Estimate {
        generation: u64,
        estimate: Result<Estimate, String>,
    },
    /// Jobs of this session that were interrupted earlier.
    Unfinished(Vec<Unfinished>),
    /// Earlier runs, of any session, newest first, and the time now in milliseconds since 1970: they are told by their age.
    Runs {
        runs: Arc<Vec<Run>>,
        now: u64,
    },
    /// Something went wrong that stops nothing.
    Warning(String),
    /// What uses how much memory, after it changed.
    Memory(MemoryUse),
    /// The engine thread panicked; nothing more will come.
    Crashed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    Queued,
    /// Share done, 0 to 1.
    Paused(f64),
    /// A crash or the end of the program stopped it: it can go on from this share.
    Interrupted(f64),
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
        files: Vec<RunFile>,
    },
    /// Finished, but the results could not be written; they are still here.
    Unwritten(String),
    Failed(String),
    Cancelled,
}

/// An interrupted job.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    pub spec: JobSpec,
    pub share: f64,
}

/// A metric family as the forms need it: its parameters, with the defaults that suit the session.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyInfo {
    pub name: &'static str,
    pub title: &'static str,
    pub params: Vec<ParamInfo>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ParamInfo {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub default: String,
}

/// A latent that was found, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub latent: u32,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// It fires on the word: at so many of its places in the corpus, which is this share of all it does.
    Fires { places: (usize, usize), share: f64 },
    /// It raises the word's logit, in logits per unit of activation, less the mean over the vocabulary.
    Promotes(f32),
    /// The cosine of its decoder row with that of a latent.
    Like { of: u32, cosine: f32 },
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
    /// The hook's, from 0.
    pub layer: usize,
    /// All that there are SAEs of, where there are several.
    pub layers: Vec<usize>,
    /// "2k topk32", "24k standard" ...
    pub sae: String,
    /// As its files call it.
    pub sae_name: String,
    /// Folder of the one that is `trained`, where it was trained after the session was loaded.
    pub joined: Option<PathBuf>,
    pub d_sae: usize,
    /// Width of what it reads.
    pub d_in: usize,
    /// Of the SAE's weights: what is kept about it is kept by this.
    pub sae_digest: String,
    /// Of everything whose digest is known, by what it is: "model", "sae" ...
    pub digests: Vec<(String, String)>,
    pub n_layers: usize,
    pub variants: Vec<Variant>,
    /// What the slider turns, and where it stands at first.
    pub setting: Setting,
    pub criterion: Criterion,
    pub criteria: Vec<Criterion>,
    /// Longest prompt in tokens, BOS included.
    pub context: usize,
    /// "cpu 2 threads", "cuda:0 H200" ...
    pub device: String,
    pub dtype: String,
    /// "raw", "centered" or "tl".
    pub space: String,
    pub memory: MemoryUse,
    /// Three prompts worth trying.
    pub examples: Vec<String>,
    /// What can be measured.
    pub families: Vec<FamilyInfo>,
    /// How long the comparison of a short prompt took at loading, in milliseconds: beyond about 500 the explorer waits for Enter.
    pub probe_ms: f64,
    /// Warnings met while loading, for the log and the status line.
    pub warnings: Vec<String>,
}

impl SessionInfo {
    /// What it works on, in a few words: as runs of metrics have it.
    pub fn label(&self) -> String {
        [&self.model, &self.compression, &self.sae, &self.hook].map(String::as_str).join(", ")
    }
}
