//! Pruning: rank once, prune at any ratio, exactly and reversibly.

pub mod model;
pub mod norms;
pub mod sae;
pub mod write;

pub use prunelens_kernels::ranks::Sparsity;
