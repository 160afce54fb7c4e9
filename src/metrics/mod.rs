//! Metrics as SAEBench computes them.

pub mod table;

pub use table::{Better, MetricRow, MetricTable};
