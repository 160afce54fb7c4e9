//! What the models say comes next, as it was asked last and as it came.

use std::sync::Arc;

use prunelens_core::{compare::predict::Predictions, edit::Edits};

use super::Target;

/// What predictions are of.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictKey {
    pub target: Target,
    pub token: usize,
    pub edits: Edits,
}

#[derive(Clone, Debug, Default)]
pub struct PredictionsView {
    /// The predictions last asked for, and the last that came, with what they are of.
    pub asked: Option<(u64, PredictKey)>,
    pub waiting: bool,
    pub came: Option<(PredictKey, Arc<Predictions>)>,
    /// How often the variants were turned over, where not all fit.
    pub turned: usize,
}

impl PredictionsView {
    /// The predictions that came last, if they are of this.
    pub fn current(&self, key: &PredictKey) -> Option<&Predictions> {
        self.came.as_ref().filter(|(of, _)| of == key).map(|(_, predictions)| &**predictions)
    }

    /// Divergence of the models at each token of the prompt shown, if it is known.
    pub fn between(&self, prompt: &str) -> Option<&[f32]> {
        let (of, predictions) = self.came.as_ref()?;
        (*of.target.prompt == *prompt && !predictions.between.is_empty()).then_some(&predictions.between)
    }
}
