//! The library below `prunelens`: language models with hooks, sparse autoencoders, their pruning, and one prompt compared
//! through every variant.

pub mod compare;
pub mod data;
pub mod demo;
pub mod digest;
pub mod files;
pub mod hub;
pub mod model;
pub mod progress;
pub mod prune;
pub mod rng;
pub mod sae;
pub mod session;
pub mod train;

pub use prunelens_kernels::{error, quiet, text};
