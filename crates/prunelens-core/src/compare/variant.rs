//! The four pairings of an SAE with a model.

use serde::{Deserialize, Serialize};

/// One (SAE, model) pairing on screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Pretrained SAE on the original model.
    Original,
    /// Pretrained SAE, untouched, on the pruned model.
    Transfer,
    /// Pretrained SAE with its own weights pruned at the live ratio, on the pruned model.
    Pruned,
    /// SAE trained anew on the pruned model; it has a dictionary of its own.
    Trained,
}

impl Variant {
    /// In the order of columns on screen.
    pub const ALL: [Self; 4] = [Self::Original, Self::Transfer, Self::Pruned, Self::Trained];

    /// As commands, files and screens spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Transfer => "transfer",
            Self::Pruned => "pruned",
            Self::Trained => "trained",
        }
    }

    /// Whether it reads the pruned model.
    pub fn on_pruned_model(self) -> bool {
        self != Self::Original
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Variant {
    type Err = crate::error::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|v| v.name() == name).ok_or_else(|| {
            crate::error::Error::Usage(format!(
                "variant {name:?} does not exist; expected original, transfer, pruned or trained"
            ))
        })
    }
}
