//! The screen of one latent: its page over the corpus, and what stands beside it.

use std::{sync::Arc, time::Duration};

use prunelens_core::{compare::Variant, index::LatentPage, sae::Setting};

/// What a latent's page is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageKey {
    pub latent: u32,
    /// Of the `pruned` variant.
    pub setting: Setting,
}

#[derive(Clone, Debug)]
pub struct LatentView {
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
    /// It was opened from the atlas, and goes back there.
    pub from_atlas: bool,
}

impl Default for LatentView {
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
            from_atlas: false,
        }
    }
}

impl LatentView {
    /// The page of the pinned latent, where it stands beside that of another one.
    pub fn pinned_beside(&self, latent: Option<u32>) -> Option<&LatentPage> {
        self.pinned.as_deref().filter(|pinned| Some(pinned.latent) != latent)
    }

    /// Whether a latent is the pinned one.
    pub fn is_pinned(&self, latent: u32) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| pinned.latent == latent)
    }
}
