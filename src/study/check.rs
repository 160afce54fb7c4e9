//! Whether a study's figures are within the bounds of its file, for the tests of a model's makers.

use prunelens_core::compare::Variant;
use prunelens_metrics::FAMILIES;
use serde::Deserialize;

/// What a figure has to be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bound {
    /// "core" ...
    pub metric: String,
    /// As result files name it.
    pub figure: String,
    /// All there are, if none is named.
    pub variant: Option<Variant>,
    /// The least that it may be.
    pub least: Option<f64>,
    /// The most that it may be.
    pub most: Option<f64>,
    /// By how much it may be worse than in the baseline.
    pub worse: Option<f64>,
}

impl Bound {
    /// A bound that bounds something.
    pub fn check(&self) -> Result<(), String> {
        let name = self.metric.replace('-', "_");
        if !FAMILIES.iter().any(|family| family.name == name) {
            return Err(format!("there is no metric {:?}", self.metric));
        }
        let limits = [self.least, self.most, self.worse];
        match limits.iter().flatten().next() {
            None => Err(format!("{} of {} has none of least, most and worse", self.figure, self.metric)),
            Some(_) if limits.iter().flatten().any(|limit| !limit.is_finite()) => Err("a limit is no number".into()),
            Some(_) => Ok(()),
        }
    }
}
