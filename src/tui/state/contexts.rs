//! Where keys are looked up, and where letters go.

use super::{Overlay, Panel, Phase, Screen, State};
use crate::tui::keys::action::Context;

impl State {
    /// Where a key is looked up, nearest first.
    pub fn contexts(&self) -> &'static [Context] {
        use Context as C;
        match (&self.overlay, self.screen) {
            (Some(Overlay::Help { .. }), _) => &[C::List, C::Reader, C::Global, C::Always],
            (Some(Overlay::Copies { .. }), _) => &[C::List, C::Always],
            (
                Some(
                    Overlay::Palette { .. }
                    | Overlay::Find(_)
                    | Overlay::WriteTo { .. }
                    | Overlay::Ask { .. }
                    | Overlay::Open(_)
                    | Overlay::Edit { .. }
                    | Overlay::Name { .. },
                ),
                _,
            ) => &[C::List, C::Always],
            (Some(Overlay::Form(_) | Overlay::Generation(_)), _) => &[C::Form, C::Always],
            (Some(Overlay::ConfirmQuit), _) => &[C::Confirm, C::Always],
            (None, Screen::Metrics) => &[C::Metrics, C::Global, C::Always],
            (None, Screen::Atlas) => &[C::Atlas, C::Global, C::Always],
            (None, Screen::Study) => &[C::Study, C::Global, C::Always],
            (None, Screen::Layers) => &[C::Layers, C::Global, C::Always],
            (None, Screen::Latent) => &[C::Latent, C::OnLatent, C::Global, C::Always],
            (None, Screen::Predictions) => &[C::Predictions, C::OnLatent, C::Global, C::Always],
            (None, Screen::Generation) => &[C::Generation, C::OnLatent, C::Global, C::Always],
            (None, Screen::Session | Screen::Log) => &[C::Reader, C::Global, C::Always],
            (None, Screen::Explore) if matches!(self.phase, Phase::Failed(_)) => &[C::Failed, C::Global, C::Always],
            (None, Screen::Explore) => self.focus.contexts(),
        }
    }

    /// Whether letters go into a text.
    pub fn typing(&self) -> bool {
        match self.overlay {
            Some(
                Overlay::Palette { .. }
                | Overlay::Find(_)
                | Overlay::Form(_)
                | Overlay::Generation(_)
                | Overlay::WriteTo { .. }
                | Overlay::Ask { .. }
                | Overlay::Open(_)
                | Overlay::Edit { .. }
                | Overlay::Name { .. },
            ) => true,
            Some(_) => false,
            None => self.focus == Panel::Prompt && self.takes_text(),
        }
    }

    /// The prompt can be written, while the session loads too.
    pub fn takes_text(&self) -> bool {
        self.screen == Screen::Explore && matches!(self.phase, Phase::Loading { .. } | Phase::Ready)
    }
}
