//! What became of a latent, in one word.

/// Below this share of a mass there is none to speak of.
pub const DEAD: f64 = 0.01;
/// Below this share of its mass on the original model a latent is weakened.
pub const WEAKENED: f64 = 0.5;
/// Below this correlation with its activations on the original model a latent fires elsewhere.
pub const ROTATED: f64 = 0.5;

/// From the SAE on the original model to the pruned SAE on the pruned model. The first that holds is a latent's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It fires nowhere: neither in original, transfer nor pruned.
    Silent,
    /// It has mass on the pruned model, in transfer or pruned, and below [`DEAD`] of that on the original one.
    New,
    /// In transfer it has below [`DEAD`] of its mass in original, in pruned too.
    DeadWithModel,
    /// In transfer it has below [`DEAD`] of its mass in original, in pruned more than that.
    Revived,
    /// In pruned it has below [`DEAD`] of its mass in original, in transfer more than that.
    DeadWithSae,
    /// Its activations in pruned correlate with those in original by less than [`ROTATED`].
    Rotated,
    /// In pruned it has less than [`WEAKENED`] of its mass in original.
    Weakened,
    /// None of these.
    Kept,
}

/// What a fate is told by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Mass in original, transfer and pruned.
    pub mass: [f64; 3],
    /// Correlation of pruned with original; NaN where there is none.
    pub corr: f64,
}

impl Fate {
    /// In the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Kept,
        Self::Weakened,
        Self::Rotated,
        Self::DeadWithModel,
        Self::DeadWithSae,
        Self::Revived,
        Self::New,
        Self::Silent,
    ];

    /// As files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::New => "new",
            Self::DeadWithModel => "dead with the model",
            Self::Revived => "revived",
            Self::DeadWithSae => "dead with the SAE",
            Self::Rotated => "rotated",
            Self::Weakened => "weakened",
            Self::Kept => "kept",
        }
    }

    /// Of one latent.
    pub fn of(course: &Course) -> Self {
        let [original, transfer, pruned] = course.mass;
        let after = transfer.max(pruned);
        let gone = |mass: f64| mass < DEAD * original;
        if original == 0.0 && after == 0.0 {
            Self::Silent
        } else if original < DEAD * after {
            Self::New
        } else if gone(transfer) {
            if gone(pruned) { Self::DeadWithModel } else { Self::Revived }
        } else if gone(pruned) {
            Self::DeadWithSae
        } else if course.corr < ROTATED {
            Self::Rotated
        } else if pruned < WEAKENED * original {
            Self::Weakened
        } else {
            Self::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_holds() {
        for (mass, corr, expected) in [
            ([0.0, 0.0, 0.0], f64::NAN, Fate::Silent),
            ([0.0, 0.0, 1.0], f64::NAN, Fate::New),
            ([0.5, 100.0, 0.0], 0.1, Fate::New),
            ([100.0, 0.9, 0.0], f64::NAN, Fate::DeadWithModel),
            ([100.0, 0.0, 1.0], 0.9, Fate::Revived),
            ([100.0, 1.0, 0.9], 0.9, Fate::DeadWithSae),
            ([100.0, 90.0, 80.0], 0.49, Fate::Rotated),
            ([100.0, 90.0, 40.0], 0.49, Fate::Rotated),
            ([100.0, 90.0, 49.0], 0.9, Fate::Weakened),
            ([100.0, 90.0, 50.0], 0.5, Fate::Kept),
            // Always on: nothing to correlate.
            ([100.0, 300.0, 300.0], f64::NAN, Fate::Kept),
        ] {
            assert_eq!(Fate::of(&Course { mass, corr }), expected, "{mass:?} {corr}");
        }
        let mut names = Fate::ALL.map(Fate::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
