//! Training of sparse autoencoders on the CPU, with hand-written gradients on plain buffers.

mod adam;
mod dense;
mod figures;
mod gradients;
mod linalg;
mod rng;
mod select;
mod sparse;
pub mod spec;
pub mod stream;
mod weights;

pub use spec::{Architecture, Budget, TrainSpec};
