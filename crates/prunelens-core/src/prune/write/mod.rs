//! Pruned checkpoints and SAEs as files, with a report of their sparsity.

pub mod checkpoint;
pub mod compressed_tensors;
mod dequantised;
mod folder;
mod report;
pub mod sae;
mod tensors;

pub use checkpoint::{Change, Checkpoint, Copy};
pub use folder::Staged;
pub use report::{Matrix, Report};
pub use sae::SaeFiles;
