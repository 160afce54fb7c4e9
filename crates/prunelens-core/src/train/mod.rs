//! Training of sparse autoencoders on the CPU, with hand-written gradients on plain buffers.

pub mod activations;
mod adam;
pub mod checkpoint;
mod dense;
mod figures;
mod gradients;
mod linalg;
pub mod run;
mod select;
mod sparse;
pub mod spec;
mod state;
pub mod stream;
mod weights;

pub use run::{Resumable, TrainEvent, TrainFigures, train};
pub use spec::{Architecture, Budget, TrainSpec};
pub use state::State;
