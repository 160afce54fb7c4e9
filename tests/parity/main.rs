//! Numbers that others gave: the reference stack in Python, recorded, and each computation done in another way.
//!
//! `cargo test --test parity metrics::` runs one part; PRUNELENS_DEVICE says where (see `support/device.rs`).

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod atlas;
mod compressed;
mod config_keys;
mod edits;
mod families;
mod formats;
mod kept;
mod kernels;
mod knobs;
mod metrics;
mod oracles;
mod pruning;
mod ragged;
mod reference;
mod training;
mod two_devices;
