//! What tokens are shaded by.

/// What a strip of tokens is shaded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shade {
    /// The selected latent's activation.
    #[default]
    Latent,
    /// How far the pruned strip is from the original one.
    Difference,
    /// How far the models' predictions are apart.
    Divergence,
}

impl Shade {
    pub fn next(self) -> Self {
        match self {
            Self::Latent => Self::Difference,
            Self::Difference => Self::Divergence,
            Self::Divergence => Self::Latent,
        }
    }
}
