//! How weights of an SAE are ranked for pruning.

use serde::{Deserialize, Serialize};

/// Largest ratio at which an SAE is pruned: beyond it nothing of it is left to look at.
pub const MAX_RATIO: f64 = 0.99;

/// Score and comparison group of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// |W| times the norm of its input; one group per output (arXiv 2306.11695 applied to an SAE).
    Wanda,
    /// |W| times the norm of its output; one group per input (the released code of arXiv 2507.15977).
    Paper,
    /// |W|; one group per output.
    Magnitude,
    /// A fixed pseudo-random score; one group per output.
    Random,
}

impl Criterion {
    /// In the order in which a key goes through them.
    pub const ALL: [Self; 4] = [Self::Wanda, Self::Paper, Self::Magnitude, Self::Random];

    /// As flags and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wanda => "wanda",
            Self::Paper => "paper",
            Self::Magnitude => "magnitude",
            Self::Random => "random",
        }
    }
}

impl std::fmt::Display for Criterion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Criterion {
    type Err = crate::error::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|c| c.name() == name).ok_or_else(|| {
            crate::error::Error::Usage(format!(
                "criterion {name:?} does not exist; expected wanda, paper, magnitude or random"
            ))
        })
    }
}
