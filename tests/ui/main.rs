//! The interface without a terminal and without models: update tables, snapshots of views, scripts.

mod export;
mod jobs;
mod panics;
mod script;
mod snapshots;
mod support;
mod update;
