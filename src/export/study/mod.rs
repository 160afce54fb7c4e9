//! Studies as Markdown, HTML, CSV, JSON and SVG.

pub mod checked;
pub mod redundancy;
pub mod report;
pub mod rules;

use super::table::escape;

/// A line of a Markdown table.
fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// Its head, all but the first column of numbers.
fn head(cells: &[String]) -> String {
    format!("{}|---|{}\n", row(cells.iter().map(|cell| escape(cell))), "---:|".repeat(cells.len().saturating_sub(1)))
}
