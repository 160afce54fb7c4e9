//! NVIDIA GPUs: what this machine has, what is missing to use them, and whether what is asked for fits.
//!
//! Nothing here needs the `cuda` feature to compile: libraries are asked of the loader, as using the device will do.

pub mod libraries;
mod library;
pub mod nvml;
mod opened;
mod places;

pub use opened::{Opened, arithmetic, name, open, opened, release};
pub use places::Places;
