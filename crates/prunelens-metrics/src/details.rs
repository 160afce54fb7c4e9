//! What a metric family has to show beyond its table of figures, as plain data: panels and exports treat all families alike.

use prunelens_core::compare::Variant;
use serde::{Deserialize, Deserializer, Serialize};

/// One table or one chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// What it shows, as a heading: "absorption per letter: transfer".
    pub title: String,
    /// What there is to see.
    pub kind: DetailKind,
}

/// A table, or lines of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetailKind {
    /// Rows have as many cells as there are columns.
    Table {
        /// Heads of the columns.
        columns: Vec<String>,
        /// As many cells in each as there are columns.
        rows: Vec<Vec<Cell>>,
    },
    /// Curves over one axis.
    Lines {
        /// What the horizontal axis counts.
        x_label: String,
        /// What the vertical axis counts.
        y_label: String,
        /// One a curve.
        series: Vec<Series>,
    },
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words, as they are shown.
    Text(String),
    /// NaN where undefined.
    Number(f64),
    /// Nothing known, yet or at all.
    Empty,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// As a legend names it.
    pub name: String,
    /// Whose line it is, for its colour.
    pub variant: Option<Variant>,
    /// (x, y), x ascending; y may be NaN where undefined.
    #[serde(deserialize_with = "points")]
    pub points: Vec<(f64, f64)>,
    /// A point of it that matters.
    pub mark: Option<Mark>,
}

/// A point of a line that matters, such as a knee.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Where on the two axes.
    #[serde(deserialize_with = "point")]
    pub at: (f64, f64),
    /// "knee" ...
    pub name: String,
}

/// JSON has null for what is undefined.
fn points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(f64, f64)>, D::Error> {
    let points: Vec<Nullable> = Vec::deserialize(deserializer)?;
    Ok(points.into_iter().map(known).collect())
}

fn point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(f64, f64), D::Error> {
    Nullable::deserialize(deserializer).map(known)
}

type Nullable = (Option<f64>, Option<f64>);

fn known((x, y): Nullable) -> (f64, f64) {
    (x.unwrap_or(f64::NAN), y.unwrap_or(f64::NAN))
}

impl Detail {
    /// A table with these heads.
    pub fn table<C: Into<String>>(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
        rows: Vec<Vec<Cell>>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: title.into(), kind: DetailKind::Table { columns, rows } }
    }

    /// Curves over axes of these names.
    pub fn lines(
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
        series: Vec<Series>,
    ) -> Self {
        Self {
            title: title.into(),
            kind: DetailKind::Lines { x_label: x_label.into(), y_label: y_label.into(), series },
        }
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Number(value as f64)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}
