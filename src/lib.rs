//! `prunelens`: what happens to a sparse autoencoder's latents when the language model under it is pruned.

pub mod app;
pub mod compare;
pub mod engine;
pub mod error;
pub mod export;
pub mod metrics;
pub mod model;
pub mod prune;
pub mod sae;
pub mod safe;
pub mod session;
pub mod ui;
