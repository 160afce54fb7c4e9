//! Metrics as SAEBench computes them.

pub mod command;
pub mod core;
pub mod details;
pub mod ravel;
pub mod report;
pub mod scr_tpp;
pub mod sparse_probing;
pub mod subjects;
pub mod table;
pub mod texts;

pub use details::Detail;
pub use table::{Better, MetricRow, MetricTable};
