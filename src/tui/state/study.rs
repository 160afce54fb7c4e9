//! What is asked beyond the prompt's table: the corpus page of a latent, predictions, and the edits in force.

use std::{sync::Arc, time::Duration};

use prunelens_core::{
    compare::{Variant, predict::Predictions},
    edit::Edits,
    index::LatentPage,
    sae::Setting,
};

use super::Target;

/// What predictions are of.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictKey {
    pub target: Target,
    pub token: usize,
    pub edits: Edits,
}

/// What a latent's page is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageKey {
    pub latent: u32,
    /// Of the `pruned` variant.
    pub setting: Setting,
}

/// What a strip of tokens is shaded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shade {
    /// The selected latent's activation.
    #[default]
    Latent,
    /// How far the pruned strip is from the original one.
    Difference,
    /// How far the models' predictions are apart.
    Divergence,
}

impl Shade {
    pub fn next(self) -> Self {
        match self {
            Self::Latent => Self::Difference,
            Self::Difference => Self::Divergence,
            Self::Divergence => Self::Latent,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Study {
    /// The latent whose page was asked for last, and its page once it has come.
    pub asked: Option<(u64, PageKey)>,
    /// Another setting, and when the slider will have rested there long enough to read the corpus again.
    pub resting: Option<(PageKey, Duration)>,
    pub page: Option<Arc<LatentPage>>,
    /// Another latent's page, shown beside.
    pub pinned: Option<Arc<LatentPage>>,
    /// A latent that is to stand beside, whose page has not come.
    pub pinning: Option<u32>,
    /// Whose texts stand beside the original's.
    pub beside: Variant,
    /// With another latent pinned: the variant that both latents' texts are of.
    pub both: Variant,
    pub scroll: usize,
    /// How often the variants of the predictions were turned over, where not all fit.
    pub turned: usize,
    /// It was opened from the atlas, and goes back there.
    pub from_atlas: bool,
    /// The predictions last asked for, and the last that came, with what they are of.
    pub predicting: Option<(u64, PredictKey)>,
    pub waiting: bool,
    pub predicted: Option<(PredictKey, Arc<Predictions>)>,
    pub edits: Edits,
}

impl Default for Study {
    fn default() -> Self {
        Self {
            asked: None,
            resting: None,
            page: None,
            pinned: None,
            pinning: None,
            beside: Variant::Transfer,
            both: Variant::Original,
            scroll: 0,
            turned: 0,
            from_atlas: false,
            predicting: None,
            waiting: false,
            predicted: None,
            edits: Edits::default(),
        }
    }
}

impl Study {
    /// The page of the pinned latent, where it stands beside that of another one.
    pub fn pinned_beside(&self, latent: Option<u32>) -> Option<&LatentPage> {
        self.pinned.as_deref().filter(|pinned| Some(pinned.latent) != latent)
    }

    /// Whether a latent is the pinned one.
    pub fn is_pinned(&self, latent: u32) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| pinned.latent == latent)
    }

    /// The predictions that came last, if they are of this.
    pub fn current(&self, key: &PredictKey) -> Option<&Predictions> {
        self.predicted.as_ref().filter(|(of, _)| of == key).map(|(_, predictions)| &**predictions)
    }

    /// Divergence of the models at each token of the prompt shown, if it is known.
    pub fn between(&self, prompt: &str) -> Option<&[f32]> {
        let (of, predictions) = self.predicted.as_ref()?;
        (*of.target.prompt == *prompt && !predictions.between.is_empty()).then_some(&predictions.between)
    }
}
