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

/// What comes back within this time stays as it is until then: dimmed in between it would only flicker.
pub const GRACE: Duration = Duration::from_millis(150);

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
    /// Why, until another prompt is answered.
    pub refusal: Option<String>,
    /// When the pause in typing is over.
    pub deadline: Option<Duration>,
    pub latent: Option<(u64, LatentKey)>,
    pub latent_waiting: bool,
    /// What was wanted last, and what was until just now, with the time when it was left.
    pub wanted: Option<Target>,
    pub left: Vec<(Target, Duration)>,
    /// Since when the details on screen are not those of the selected latent.
    pub behind: Option<Duration>,
}

impl Follow {
    pub fn advance(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// What is wanted now, and whether the selected latent's details are there.
    pub fn note(&mut self, target: Target, detailed: bool, now: Duration) {
        self.left.retain(|(_, at)| *at + GRACE > now);
        match &mut self.wanted {
            Some(wanted) if *wanted == target => {}
            wanted => self.left.extend(wanted.replace(target).map(|left| (left, now))),
        }
        self.behind = if detailed { None } else { self.behind.or(Some(now)) };
    }

    /// When what is on screen becomes old.
    pub fn ages(&self) -> impl Iterator<Item = Duration> + '_ {
        self.left.iter().map(|(_, at)| *at).chain(self.behind).map(|at| at + GRACE)
    }

    /// Whether a comparison of this generation is the one asked for last.
    pub fn is_current(&self, generation: u64) -> bool {
        self.asked.as_ref().is_some_and(|(g, _)| *g == generation)
    }
}
