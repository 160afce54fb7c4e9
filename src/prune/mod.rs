//! Pruning: rank once, prune at any ratio.

pub mod criterion;

pub use criterion::Criterion;
