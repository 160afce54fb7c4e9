//! `prunelens`: what happens to a sparse autoencoder's latents when the language model under it is pruned.

pub mod compare;
pub mod engine;
pub mod error;
pub mod metrics;
pub mod model;
pub mod prune;
pub mod sae;
pub mod session;
pub mod train;
