//! Metrics as SAEBench computes them.

pub mod command;
pub mod core;
pub mod details;
pub mod report;
pub mod subjects;
pub mod table;

pub use details::Detail;
pub use table::{Better, MetricRow, MetricTable};
