//! Which comparison and which latent were asked for, so that the screen follows the user without a backlog.

use std::{sync::Arc, time::Duration};

use prunelens_core::sae::{Knob, Setting};

/// What a comparison is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub prompt: Arc<str>,
    pub setting: Setting,
}

/// What the details of a latent are of.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentKey {
    pub prompt: Arc<str>,
    pub knob: Knob,
    pub latent: u32,
    pub token: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Follow {
    /// The last number given out; every request gets the next one.
    pub generation: u64,
    /// The comparison last asked for.
    pub asked: Option<(u64, Target)>,
    /// Its first part has not come yet.
    pub waiting: bool,
    /// It could not be made; it is not asked for again until something changes.
    pub failed: bool,
    /// When the pause in typing is over.
    pub deadline: Option<Duration>,
    pub latent: Option<(u64, LatentKey)>,
    pub latent_waiting: bool,
}

impl Follow {
    pub fn advance(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Whether a comparison of this generation is the one asked for last.
    pub fn is_current(&self, generation: u64) -> bool {
        self.asked.as_ref().is_some_and(|(g, _)| *g == generation)
    }
}
