//! Labelled texts in the layout that probing metrics are handed: a folder a data set, `train.jsonl` and `test.jsonl`
//! with `{"text": ..., "label": ..., "spurious": ...}` a line, and `dataset.json` with what they are called.

pub mod make;
pub mod read;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use make::{Making, make_dataset};
pub use read::read_datasets;

/// A text with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledText {
    /// What is read.
    pub text: String,
    /// Which class it belongs to.
    pub label: String,
    /// A second label that goes along with the first without being it, for SCR.
    pub spurious: Option<String>,
    /// For people: "train.jsonl line 3".
    pub place: String,
}

/// One data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Where it was read.
    pub folder: PathBuf,
    /// What it says of itself.
    pub about: About,
    /// Texts that probes are trained on.
    pub train: Vec<LabelledText>,
    /// Texts that probes are tested on.
    pub test: Vec<LabelledText>,
}

/// `dataset.json`. Every field may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct About {
    /// Default: the folder's name.
    pub name: String,
    /// Default: every label there is.
    pub classes: Vec<String>,
    /// The two values of the second label that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spurious_values: Option<[String; 2]>,
    /// Pairs of classes that SCR is measured on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scr_pairs: Vec<[String; 2]>,
}

/// File of the training texts.
pub const TRAIN: &str = "train.jsonl";
/// File of the test texts.
pub const TEST: &str = "test.jsonl";
/// File of what the data set says of itself.
pub const ABOUT: &str = "dataset.json";
