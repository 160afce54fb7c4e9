//! The prompt at every layer, as far as it is known.

use std::{collections::BTreeMap, sync::Arc};

use prunelens_core::compare::LayerFigures;

use super::{State, Target};

/// The strip of layers.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// What was asked for last, and whether some of it is still to come.
    pub asked: Option<(u64, Target)>,
    pub waiting: bool,
    /// By layer: figures of the prompt that was asked for, at the setting that they name, or why there are none.
    pub rows: BTreeMap<usize, Result<Arc<LayerFigures>, String>>,
    /// The layer that Enter goes to; by default the one on screen.
    pub selected: Option<usize>,
}

impl State {
    /// Layers of the strip: all that there are SAEs of.
    pub fn strip_layers(&self) -> Vec<usize> {
        let all = self.layers_here();
        let own = self.info.as_ref().filter(|_| all.is_empty()).map(|info| info.layer);
        all.iter().copied().chain(own).collect()
    }

    /// The layer selected in the strip.
    pub fn strip_selected(&self) -> Option<usize> {
        self.strip.selected.or_else(|| self.info.as_ref().map(|info| info.layer))
    }

    /// Layers whose figures are those of the prompt and setting now.
    pub fn strip_known(&self) -> usize {
        let setting = self.setting();
        let fresh = |row: &&Result<Arc<LayerFigures>, String>| match row {
            Ok(figures) => figures.setting == setting,
            Err(_) => true,
        };
        self.strip.rows.values().filter(fresh).count()
    }
}
