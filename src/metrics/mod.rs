//! Metrics as SAEBench computes them.

pub mod absorption;
pub mod core;
pub mod details;
pub mod job;
pub mod lbfgs;
pub mod ravel;
pub mod report;
pub mod results;
pub mod scr_tpp;
pub mod sparse_probing;
pub mod subjects;
pub mod sweep;
pub mod table;
pub mod texts;

pub use details::Detail;
pub use table::{Better, MetricRow, MetricTable};
