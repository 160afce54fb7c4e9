//! The explorer: update tables, snapshots of views and scripts without a terminal and without models; and the program in
//! a terminal of its own.

#![cfg(test)]

#[path = "../support/session.rs"]
mod session;
#[path = "../support/mod.rs"]
mod support;

mod atlas;
mod bytes;
mod continued;
mod copies;
mod export;
mod hints;
mod jobs;
mod latent;
mod layers;
mod pair;
mod panics;
mod resume;
mod script;
#[cfg(unix)]
mod slow;
mod snapshots;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(unix)]
mod stories;
mod study;
#[cfg(unix)]
mod terminal;
mod tour;
mod update;
