//! Which SAE a figure is of.

use std::fmt;

use prunelens_core::compare::Variant;
use prunelens_metrics::core::Blocks;
use serde::Serialize;

/// A variant, and of `pruned` its setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantAt {
    pub variant: Variant,
    /// How the weights of `pruned` are ranked, or the name of another knob.
    pub criterion: Option<String>,
    /// The share of them that is zero, or the other knob's setting.
    pub ratio: Option<f64>,
}

impl VariantAt {
    /// Other variants than `pruned` have no setting.
    pub fn new(variant: Variant, criterion: Option<String>, ratio: Option<f64>) -> Self {
        let pruned = variant == Variant::Pruned;
        Self { variant, criterion: criterion.filter(|_| pruned), ratio: ratio.filter(|_| pruned) }
    }

    pub fn pruned(criterion: &str, ratio: f64) -> Self {
        Self { variant: Variant::Pruned, criterion: Some(criterion.to_owned()), ratio: Some(ratio) }
    }

    /// Whether these are sums over its rows.
    pub fn has(&self, blocks: &Blocks) -> bool {
        let at = blocks.at.as_ref().map(|(criterion, ratio)| (criterion, *ratio)).unzip();
        self.variant == blocks.variant
            && (self.variant != Variant::Pruned || (self.criterion.as_ref(), self.ratio) == at)
    }
}

impl From<Variant> for VariantAt {
    fn from(variant: Variant) -> Self {
        Self { variant, criterion: None, ratio: None }
    }
}

/// "pruned wanda 0.25".
impl fmt::Display for VariantAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.variant)?;
        if let Some(criterion) = &self.criterion {
            write!(f, " {criterion}")?;
        }
        match self.ratio {
            Some(ratio) => write!(f, " {ratio}"),
            None => Ok(()),
        }
    }
}
