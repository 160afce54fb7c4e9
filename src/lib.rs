//! `prunelens`: what happens to a sparse autoencoder's latents when the language model under it is pruned.

pub mod compare;
pub mod data;
pub mod engine;
pub mod error;
pub mod export;
pub mod jobs;
pub mod kernels;
pub mod metrics;
pub mod model;
pub mod progress;
pub mod prune;
pub mod sae;
pub mod session;
pub mod text;
