//! Pruning: rank once, prune at any ratio, exactly and reversibly.

pub mod masks;
pub mod model;
pub mod norms;
mod rules;
pub mod sae;
pub mod write;

pub use prunelens_kernels::ranks::Sparsity;
pub use rules::{CalibrationRows, Compress};
