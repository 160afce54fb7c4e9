//! Compressed copies of the model that can take each other's place, with what is known of the prompt on each.

use std::{collections::BTreeMap, sync::Arc};

use prunelens_core::{
    compare::{LayerFigures, Variant},
    session::Compress,
};

use super::State;

/// What one copy makes of a prompt.
#[derive(Clone, Debug)]
pub struct CopyFigures {
    /// Of which prompt.
    pub prompt: Arc<str>,
    /// Of the model itself, cross-entropy in nats.
    pub ce: f64,
    /// Of the SAE on it.
    pub figures: LayerFigures,
}

/// By the copy's spelling and the SAE's digest: a copy that was looked at has figures.
pub type Copies = BTreeMap<(String, String), CopyFigures>;

impl State {
    /// Copies that can be gone to, where there are several.
    pub fn copies_here(&self) -> &[Compress] {
        match &self.spec.compressions[..] {
            all @ [_, _, ..] => all,
            _ => &[],
        }
    }

    /// Where the copy on screen stands among them.
    pub fn copy_here(&self) -> usize {
        self.copies_here().iter().position(|copy| *copy == self.spec.compress).unwrap_or(0)
    }

    /// What a copy made of the prompt when it was last on screen.
    pub fn copy_figures(&self, copy: &Compress) -> Option<&CopyFigures> {
        let sae = self.info.as_ref()?.sae_digest.clone();
        self.copies.get(&(copy.to_string(), sae)).filter(|known| *known.prompt == *self.target().prompt)
    }

    /// Remember what the copy on screen makes of the prompt, once all of it is known.
    pub fn note_copy(&mut self) {
        let (Some(shown), Some(info)) = (&self.shown, &self.info) else { return };
        if !shown.complete || self.copies_here().is_empty() {
            return;
        }
        let comparison = &shown.comparison;
        let counts: Vec<bool> = comparison.tokens.iter().map(|token| !token.special).collect();
        let place = (comparison.hook.clone(), info.sae.clone());
        let figures = LayerFigures::new(info.layer, place, comparison.setting, &comparison.views, &counts);
        let ce = comparison.view(Variant::Transfer).and_then(|view| Some(view.splice?.ce_loss_without_sae));
        if let (Some(figures), Some(ce)) = (figures, ce) {
            let key = (self.spec.compress.to_string(), info.sae_digest.clone());
            let known = CopyFigures { prompt: shown.of.prompt.clone(), ce, figures };
            self.copies.insert(key, known);
        }
    }
}
