//! Another session on its way, what is left in one that is gone from, and the line that asks for one.

use std::{sync::Arc, time::Duration};

use prunelens_core::{edit::Edits, session::SessionSpec};

use super::{Choice, Progress, State};
use crate::settings::SessionSettings;

/// A session that was asked for, while this one answers.
#[derive(Clone, Debug)]
pub struct Coming {
    pub spec: Arc<SessionSpec>,
    pub settings: Arc<SessionSettings>,
    /// It differs from this one in its layer only.
    pub layer: Option<usize>,
    pub progress: Option<Progress>,
    pub since: Duration,
}

/// What of an SAE was looked at when it was left.
#[derive(Clone, Debug)]
pub struct Place {
    pub latent: Option<u32>,
    pub choice: Choice,
    pub edits: Edits,
}

/// What a line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Another session.
    #[default]
    Session,
    /// The folder of a study.
    Study,
}

/// A line that says what to open, with what its last word can go on to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenLine {
    pub wanted: Wanted,
    pub text: String,
    /// Of which text these are.
    pub of: Option<String>,
    pub found: Vec<String>,
    pub selected: usize,
    /// Why it could not be opened.
    pub wrong: Option<String>,
}

impl State {
    /// Layers that can be gone to, where there are several.
    pub fn layers_here(&self) -> &[usize] {
        self.info.as_ref().map_or(&[], |info| &info.layers)
    }

    /// The layer on screen, or the one that is coming.
    pub fn layer_wanted(&self) -> Option<usize> {
        let coming = self.coming.as_ref().and_then(|coming| coming.layer);
        coming.or_else(|| self.info.as_ref().map(|info| info.layer))
    }

    /// The layer before or behind that.
    pub fn layer_beside(&self, forward: bool) -> Option<usize> {
        let (layers, wanted) = (self.layers_here(), self.layer_wanted()?);
        match forward {
            true => layers.iter().copied().find(|layer| *layer > wanted),
            false => layers.iter().copied().rfind(|layer| *layer < wanted),
        }
    }
}
