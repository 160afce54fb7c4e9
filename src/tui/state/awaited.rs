//! What is on its way, and what waits for it.

use super::{Overlay, Screen, State};

impl State {
    /// The prompt as typed differs from the one compared and nothing is under way: Enter would compare it.
    pub fn awaits_enter(&self) -> bool {
        self.slow() && !self.prompt.is_blank() && self.prompt.text() != self.prompt.wanted.as_ref()
    }

    /// A comparison or its figures are still on their way.
    pub fn comparing(&self) -> bool {
        self.follow.waiting || self.shown.as_ref().is_some_and(|s| !s.complete && self.follow.is_current(s.generation))
    }

    /// What is on screen of the prompt is not yet, or not yet all, of what is wanted.
    pub fn prompt_incomplete(&self) -> bool {
        let there = self.shown.as_ref().is_some_and(|shown| shown.of == self.target() && shown.complete);
        !there && (self.comparing() || self.follow.deadline.is_some())
    }

    /// Latents that were asked for have not come.
    pub fn finding(&self) -> bool {
        matches!(&self.overlay, Some(Overlay::Find(find)) if find.waiting)
    }

    /// Something of the latent shown is still on its way.
    pub fn latent_incomplete(&self) -> bool {
        let (latent, pages) = (self.latent, self.screen == Screen::Latent);
        let page = pages && self.latent_view.page.as_ref().map(|page| page.latent) != latent;
        self.follow.latent_waiting || self.predictions.waiting || page
    }

    /// What is on screen has texts of a corpus of which not all is read; it is read when no job runs.
    pub fn awaits_corpus(&self) -> bool {
        let shown = match &self.overlay {
            Some(Overlay::Find(find)) => find.word().is_some(),
            _ => matches!(self.screen, Screen::Explore | Screen::Latent) && self.detail.is_some(),
        };
        self.indexing && shown && !self.busy_jobs()
    }

    /// What the job in the form will take is not known yet.
    pub fn estimating(&self) -> bool {
        matches!(&self.overlay, Some(Overlay::Form(form)) if form.waiting)
    }
}
