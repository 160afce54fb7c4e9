//! Training of sparse autoencoders, with hand-written gradients: on plain buffers on the CPU, by kernels where the model is on
//! a GPU.

pub mod activations;
mod adam;
pub mod checkpoint;
mod choose;
pub mod curve;
mod dense;
mod figures;
pub mod finish;
mod gated;
mod gradients;
mod jumprelu;
pub mod kind;
mod linalg;
mod on_device;
mod relu;
pub mod report;
pub mod run;
mod select;
mod sparse;
pub mod spec;
mod state;
pub mod stream;
mod trainer;
mod training;
mod weights;

pub use adam::{Adam, Moments};
pub use kind::{Architecture, Batch, Decoder, Jump, Sparsity};
pub use on_device::DeviceState;
pub use report::Report;
pub use run::{Keeping, Run, TrainEvent, Trained, train};
pub use spec::{Budget, TrainSpec};
pub use state::{Course, RECENT, State, Work};
pub use trainer::{TrainFigures, Trainer};
pub use training::Training;
