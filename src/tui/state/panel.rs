//! Panels of the Explore screen, as far as keys and the wheel go; `view::panels` has where each is and how it is drawn.

use crate::tui::keys::action::{Action, Context};

/// In the order of Tab and of the digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Prompt,
    Tokens,
    Latents,
    Detail,
    Ratio,
    Figures,
}

impl Panel {
    pub const ALL: [Self; 6] = [Self::Prompt, Self::Tokens, Self::Latents, Self::Detail, Self::Ratio, Self::Figures];

    /// Where a key is looked up while the panel has the focus, nearest first.
    pub fn contexts(self) -> &'static [Context] {
        use Context as C;
        match self {
            Self::Prompt => &[C::Prompt, C::Always],
            Self::Detail => &[C::Detail, C::Explore, C::Global, C::Always],
            Self::Ratio => &[C::Ratio, C::Explore, C::Global, C::Always],
            Self::Tokens | Self::Latents | Self::Figures => &[C::Explore, C::Global, C::Always],
        }
    }

    /// What the wheel does over the panel, up and down.
    pub fn wheel(self) -> [Action; 2] {
        match self {
            Self::Tokens => [Action::TokenLeft, Action::TokenRight],
            Self::Detail => [Action::ScrollUp, Action::ScrollDown],
            Self::Ratio => [Action::RatioFineUp, Action::RatioFineDown],
            Self::Prompt | Self::Latents | Self::Figures => [Action::LatentUp, Action::LatentDown],
        }
    }
}
