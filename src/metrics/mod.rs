//! Metrics as SAEBench computes them.

pub mod command;
pub mod core;
pub mod report;
pub mod subjects;
pub mod table;

pub use command::MetricName;
pub use table::{Better, MetricRow, MetricTable};
