//! Pruning: rank once, prune at any ratio, exactly and reversibly.

pub mod criterion;
pub mod model;
pub mod norms;
mod ranked;
pub mod sae;
pub mod write;

pub use criterion::{Criterion, MAX_RATIO};
pub use prunelens_kernels::ranks::{Group, Ranks, Sparsity, cut};
pub use ranked::Ranked;
pub use sae::{Order, Pruning, grid_ratio};
