//! Figures of a metric run, variants beside each other.

use prunelens_core::compare::Variant;
use serde::{Deserialize, Serialize};

use crate::core::Blocks;

/// Metrics x variants, with what they were measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricTable {
    /// "core" ...
    pub metric: String,
    /// Model, rows, mask: everything a reader needs to compare it with another table.
    pub settings: Vec<(String, String)>,
    /// One a column.
    pub variants: Vec<Variant>,
    /// One a figure.
    pub rows: Vec<MetricRow>,
    /// Known failure signs and broken comparability, in words.
    pub warnings: Vec<String>,
    /// Share of the planned tokens these figures rest on; 1 when complete.
    pub progress: f64,
    /// What the rows add up to, once all are read: for intervals of the figures. Of families whose figures are sums over rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Blocks>,
}

/// One figure of all variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// SAEBench's category, such as `model_performance_preservation`; ours for figures SAEBench lacks.
    pub category: String,
    /// As files name it.
    pub name: String,
    /// Whether a larger value is better, a smaller one, or neither.
    pub better: Better,
    /// One a variant, in the order of `variants`; `None` where not known (yet) or undefined.
    pub values: Vec<Option<f64>>,
}

/// Which way of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The larger the better.
    Higher,
    /// The smaller the better.
    Lower,
    /// Neither is.
    Neither,
}
