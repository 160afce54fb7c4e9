//! What the metrics on labelled texts share: which texts, what models and SAEs make of them, and probes.
//!
//! A text is summed up once for a model and once for each SAE that reads it: the mean activation, and one sparse row of
//! latents. Everything these metrics ask for follows from that, so activations stream and are never kept (see
//! [`collect`]). Variants of one model share its passes and its probes; all variants share texts and draws.

pub mod choice;
pub mod collect;
pub mod draws;
pub mod linear;
pub mod logistic;
pub mod options;
pub mod plan;
pub mod report;
pub mod run;
pub mod sparse_rows;
pub mod unit;

pub use draws::{Draw, Permutations};
pub use linear::LinearProbe;
pub use options::TextOptions;
pub use plan::TextJob;
pub use run::{TextMetric, TextsRun, UnitResult};
pub use sparse_rows::SparseRows;
pub use unit::{TextSet, Unit};
