//! What became of a latent, in one word.

/// Below this share of a mass there is none to speak of.
pub const DEAD: f64 = 0.01;
/// Below this share of its mass on the original model a latent is weakened.
pub const WEAKENED: f64 = 0.5;
/// Below this correlation with its activations on the original model a latent fires elsewhere.
pub const ROTATED: f64 = 0.5;
/// From this share on of what a latent lost it is absorbed by the one that took it.
pub const ABSORBED: f64 = 0.5;

/// From the SAE on the original model to the pruned SAE on the pruned model, in the order of tables; [`Fate::of`] says which
/// of them goes before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None of the others.
    Kept,
    /// In pruned it has less than [`WEAKENED`] of its mass in original.
    Weakened,
    /// Its activations in pruned correlate with those in original by less than [`ROTATED`].
    Rotated,
    /// In pruned it has less than [`WEAKENED`] of its mass in original, and one other latent took [`ABSORBED`] of what it lost.
    Absorbed,
    /// In transfer it has below [`DEAD`] of its mass in original, in pruned too.
    DeadWithModel,
    /// In pruned it has below [`DEAD`] of its mass in original, in transfer more than that.
    DeadWithSae,
    /// In transfer it has below [`DEAD`] of its mass in original, in pruned more than that.
    Revived,
    /// It has mass on the pruned model, in transfer or pruned, and below [`DEAD`] of that on the original one.
    New,
    /// It fires nowhere: neither in original, transfer nor pruned.
    Silent,
}

/// What a fate is told by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Mass in original, transfer and pruned.
    pub mass: [f64; 3],
    /// Correlation of pruned with original; NaN where there is none.
    pub corr: f64,
    /// Share of what it lost from original to pruned that went to one other latent.
    pub heir: f64,
}

impl Fate {
    /// In the order of tables.
    pub const ALL: [Self; 9] = [
        Self::Kept,
        Self::Weakened,
        Self::Rotated,
        Self::Absorbed,
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
            Self::Absorbed => "absorbed",
            Self::DeadWithModel => "dead with the model",
            Self::Revived => "revived",
            Self::DeadWithSae => "dead with the SAE",
            Self::Rotated => "rotated",
            Self::Weakened => "weakened",
            Self::Kept => "kept",
        }
    }

    /// The one that files name so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.name() == name)
    }

    /// Of one latent: the first that holds.
    pub fn of(course: &Course) -> Self {
        let [original, transfer, pruned] = course.mass;
        let after = transfer.max(pruned);
        let gone = |mass: f64| mass < DEAD * original;
        if original == 0.0 && after == 0.0 {
            Self::Silent
        } else if original < DEAD * after {
            Self::New
        } else if pruned < WEAKENED * original && course.heir >= ABSORBED {
            Self::Absorbed
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
            assert_eq!(Fate::of(&Course { mass, corr, heir: 0.49 }), expected, "{mass:?} {corr}");
            let lost = mass[2] < 0.5 * mass[0] && expected != Fate::New;
            let absorbed = if lost { Fate::Absorbed } else { expected };
            assert_eq!(Fate::of(&Course { mass, corr, heir: 0.5 }), absorbed, "{mass:?} {corr}");
            assert_eq!(Fate::named(expected.name()), Some(expected));
        }
        assert!(Fate::ALL.into_iter().enumerate().all(|(at, fate)| fate as usize == at));
        let mut names = Fate::ALL.map(Fate::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
