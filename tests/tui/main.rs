//! The explorer: update tables, snapshots of views and scripts without a terminal and without models; and the program in
//! a terminal of its own.

#![cfg(test)]

#[path = "../support/session.rs"]
mod session;
#[path = "../support/mod.rs"]
mod support;

mod atlas;
mod export;
mod jobs;
mod panics;
mod script;
mod snapshots;
#[cfg(unix)]
mod terminal;
mod update;
