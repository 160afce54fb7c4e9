//! The engine: one thread owns device, models, SAEs and caches; the interface talks to it in plain data.

pub mod command;
pub mod report;

pub use command::{Command, JobId, JobSpec, Request};
pub use report::{JobState, Report, SessionInfo};

pub use crate::progress::Progress;
