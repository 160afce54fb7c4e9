//! The engine: one thread owns device, models, SAEs and caches; the interface talks to it in plain data.

pub mod command;
mod describe;
mod detail;
mod entry;
mod find;
mod generate;
pub mod handle;
mod keeping;
mod live;
mod mailbox;
pub mod memory;
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
pub use memory::MemoryUse;
pub use report::{FamilyInfo, Hit, JobState, ParamInfo, Report, SessionInfo, Unfinished, Why};
pub use thread::{Options, start, start_with};

pub use prunelens_core::progress::Progress;
pub use prunelens_metrics::JobSpec;
