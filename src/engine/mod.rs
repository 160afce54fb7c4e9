//! The engine: one thread owns device, models, SAEs and caches; the interface talks to it in plain data.

pub mod command;
mod describe;
mod detail;
mod find;
mod generate;
pub mod handle;
mod keeping;
mod live;
mod mailbox;
mod open;
mod queue;
mod quiet;
pub mod report;
mod seat;
mod strip;
mod thread;

pub use command::{Command, GenerateTask, JobId, Query, Request};
pub use find::like;
pub use handle::{EngineHandle, EngineLink};
pub use report::{FamilyInfo, Hit, JobState, ParamInfo, Report, SessionInfo, Unfinished, Why};
pub use thread::{Options, start, start_with};

pub use prunelens_core::progress::Progress;
pub use prunelens_metrics::JobSpec;

/// The whole process, among what uses memory.
pub const PROCESS: &str = "process";
/// What every program together uses of the GPU, there too.
pub const GPU: &str = "GPU, all programs";

/// What uses how much memory, and the wholes, in bytes.
pub fn memory(session: &prunelens_core::session::Session) -> Vec<(String, u64)> {
    let mut all = session.memory();
    let gpu = prunelens_kernels::gpu::opened(&session.original.device);
    all.extend(gpu.map(|gpu| (GPU.to_owned(), gpu.total_bytes.saturating_sub(gpu.free_bytes))));
    all.extend(crate::process::resident_bytes().map(|bytes| (PROCESS.to_owned(), bytes)));
    all
}
