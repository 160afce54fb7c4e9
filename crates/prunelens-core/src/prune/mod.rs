//! Pruning: rank once, prune at any ratio, exactly and reversibly; and the other rules that make a model small.

mod awq;
mod calibrate;
pub mod codes;
pub mod copies;
pub mod grid;
pub mod low_rank;
pub mod masks;
mod matrices;
pub mod model;
pub mod norms;
pub mod rtn;
mod rules;
pub mod sae;
pub mod second_order;
pub mod structured;
pub mod write;

pub use prunelens_kernels::ranks::Sparsity;
pub use rules::{CalibrationRows, Compress};
