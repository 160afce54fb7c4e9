//! Pruning: rank once, prune at any ratio, exactly and reversibly.

pub mod command;
pub mod criterion;
pub mod model;
pub mod norms;
pub mod order;
mod ranked;
pub mod sae;

pub use criterion::Criterion;
pub use order::{Group, Ranks, cut};
pub use ranked::Ranked;
pub use sae::{Order, Pruning, grid_ratio};
