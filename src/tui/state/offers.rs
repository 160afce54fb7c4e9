//! What would do something now: hints name no key that does nothing.

use super::{Chosen, JobState, Overlay, Panel, Phase, Screen, State, atlas::Look};
use crate::tui::keys::action::Action;

impl State {
    /// Whether an action has something to act on.
    pub fn offers(&self, action: Action) -> bool {
        use Action as A;
        if self.overlay.is_none()
            && self.screen == Screen::Atlas
            && let Some(offered) = self.atlas_offers(action)
        {
            return offered;
        }
        if self.overlay.is_none()
            && self.screen == Screen::Study
            && let Some(offered) = self.grid_offers(action)
        {
            return offered;
        }
        let tokens = self.shown.as_ref().map_or(0, |shown| shown.comparison.tokens.len());
        let (rows, prompt) = (self.table.rows.len(), !self.prompt.is_blank());
        match action {
            A::TokenLeft | A::TokenRight | A::FirstToken | A::LastToken => tokens > 1,
            A::LatentUp | A::LatentDown | A::LatentPageUp | A::LatentPageDown | A::LastLatent => rows > 1,
            A::PreviousLatent | A::NextLatent if self.latent_view.from_atlas => {
                self.atlas.drawn.as_ref().is_some_and(|drawn| drawn.list.len() > 1)
            }
            A::PreviousLatent | A::NextLatent => rows > 1,
            A::Sort | A::WholePrompt | A::Find | A::Shade => self.shown.is_some(),
            A::Predictions => self.shown.is_some() && self.screen != Screen::Predictions,
            A::Generate => prompt,
            A::Split => self.shown.is_some(),
            A::Swap => self.pair.is_some(),
            A::TakeText => !self.generation.texts.is_empty(),
            A::PreviousText | A::NextText => self.generation.texts.len() > 1,
            A::OpenLatent | A::Ablate | A::Edit | A::Name => self.latent.is_some(),
            A::DropEdits => !self.edits.list.is_empty(),
            A::TextsBeside => self.info.as_ref().is_some_and(|info| info.variants.len() > 1),
            A::PreviousLayer => self.layer_beside(false).is_some(),
            A::NextLayer => self.layer_beside(true).is_some(),
            A::Layers => self.screen != Screen::Layers && self.layers_here().len() > 1,
            A::Copies => !self.copies_here().is_empty() && !matches!(self.overlay, Some(Overlay::Copies { .. })),
            A::GoToLayer => self.strip_selected() != self.info.as_ref().map(|info| info.layer),
            A::Open => matches!(self.phase, Phase::Ready | Phase::Failed(_)),
            A::ScrollUp | A::ScrollDown if self.overlay.is_none() && self.screen == Screen::Layers => {
                self.strip_layers().len() > 1
            }
            A::Pin => self.latent_view.pinned.is_some() || self.latent_view.page.is_some(),
            A::RatioDown | A::RatioUp | A::RatioFineDown | A::RatioFineUp | A::RatioZero | A::Measure => {
                self.phase == Phase::Ready
            }
            A::Criterion => self.info.as_ref().is_some_and(|info| info.criteria.len() > 1),
            A::Submit | A::ClearPrompt => prompt,
            A::PauseJob => self
                .chosen_job(|state| matches!(state, JobState::Queued | JobState::Running { .. } | JobState::Paused(_))),
            A::ResumeJob => self.chosen_job(|state| {
                use JobState as S;
                matches!(state, S::Paused(_) | S::Interrupted(_) | S::Failed(_) | S::Done { .. })
            }),
            A::CancelJob => self.chosen_job(|state| {
                !matches!(state, JobState::Done { .. } | JobState::Failed(_) | JobState::Cancelled)
            }),
            A::WriteResults => self.chosen_job(|state| matches!(state, JobState::Unwritten(_))),
            A::Beside => self.chosen().is_some_and(|chosen| chosen.table().is_some()),
            A::ScrollUp | A::ScrollDown if self.overlay.is_none() && self.screen == Screen::Metrics => {
                self.rows_of_metrics() > 1
            }
            A::ScrollUp | A::ScrollDown if self.overlay.is_none() && self.screen == Screen::Explore => {
                self.detail.is_some()
            }
            A::ViewPrevious | A::ViewNext => self.views().len() > 1,
            A::TourNext => self.tour.is_some(),
            A::TakeUp => self.offered.is_some(),
            A::SaveView => self.shown.is_some(),
            A::Retry => matches!(self.phase, Phase::Failed(_)),
            A::NextPanel | A::PreviousPanel => self.overlay.is_none() && self.screen == Screen::Explore,
            A::Back => {
                self.coming.is_some()
                    || self.overlay.is_some()
                    || self.screen != Screen::Explore
                    || self.focus == Panel::Prompt
            }
            A::Palette => !matches!(self.overlay, Some(Overlay::Palette { .. })),
            A::ValuePrevious | A::ValueNext | A::ValueDefault => self.form_offers(action),
            _ => true,
        }
    }

    /// The same on the screen of the atlas, for what is another matter there.
    fn atlas_offers(&self, action: Action) -> Option<bool> {
        use Action as A;
        let view = &self.atlas;
        let drawn = view.drawn.as_ref();
        let plot = drawn.is_some() && view.look == Look::Plot;
        Some(match action {
            // Without an atlas it opens the form that makes one, as the screen itself says.
            A::OpenLatent if drawn.is_none() => false,
            A::ScrollUp | A::ScrollDown => plot && (!view.in_list || drawn.is_some_and(|drawn| drawn.list.len() > 1)),
            A::NextPanel | A::PreviousPanel | A::AtlasRegion => plot,
            A::AtlasAcross | A::AtlasUpwards | A::AtlasFate | A::AtlasList | A::AtlasFates | A::Find => drawn.is_some(),
            A::AtlasClear => {
                view.region.is_some() || view.anchor.is_some() || view.fate.is_some() || view.only.is_some()
            }
            _ => return None,
        })
    }

    /// The same on the screen of a study.
    fn grid_offers(&self, action: Action) -> Option<bool> {
        use Action as A;
        let (rows, columns) = self.study.overview().map_or((0, 0), |all| (all.rows.len(), all.columns.len()));
        Some(match action {
            A::ScrollUp | A::ScrollDown => rows > 1,
            A::SquareLeft | A::SquareRight => columns > 1,
            A::OpenCell | A::ExploreCell | A::NextNotable => rows * columns > 0,
            A::NextCurve => self.study.seen.as_ref().is_some_and(|seen| seen.curves.len() > 1),
            _ => return None,
        })
    }

    /// Whether the form's field has another value to take.
    fn form_offers(&self, action: Action) -> bool {
        let (Some(info), Some(Overlay::Form(form))) = (&self.info, &self.overlay) else { return false };
        let Some(param) = info.families.get(form.family).and_then(|family| form.param(family)) else {
            // The field is the family.
            return action != Action::ValueDefault && info.families.len() > 1;
        };
        let text = form.selected.checked_sub(1).and_then(|at| form.fields.get(at));
        match action {
            Action::ValueDefault => text != Some(&param.default),
            _ => param.kind.choices().is_some(),
        }
    }

    fn chosen_job(&self, is: impl Fn(&JobState) -> bool) -> bool {
        matches!(self.chosen(), Some(Chosen::Job(job)) if is(&job.state))
    }
}
