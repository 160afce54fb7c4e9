//! Kinds of latents, told by how often they fire, what the loss owes to them, and on how many tokens.

use serde::Serialize;

/// The first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It fires often, and the loss owes little to it.
    DenseUnimportant,
    /// It fires seldom, and on few tokens.
    RareSpecific,
    /// It fires on many tokens.
    Polysemantic,
    /// None of these.
    Other,
}

impl Kind {
    /// In the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::DenseUnimportant, Self::RareSpecific, Self::Polysemantic, Self::Other];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::DenseUnimportant => "dense and unimportant",
            Self::RareSpecific => "rare and specific",
            Self::Polysemantic => "polysemantic",
            Self::Other => "other",
        }
    }
}
