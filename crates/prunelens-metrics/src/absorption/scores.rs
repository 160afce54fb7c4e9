//! How well scores tell a letter's words from the others, and among how many latents a letter is split.

/// Words by what a score above its limit says of them and what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confusion {
    /// Told to be of the class, rightly.
    pub true_positives: usize,
    /// Told to be of the class, wrongly.
    pub false_positives: usize,
    /// Told not to be of the class, wrongly.
    pub false_negatives: usize,
    /// Told not to be of the class, rightly.
    pub true_negatives: usize,
}

impl Confusion {
    /// Of pairs of score and truth.
    pub fn above(limit: f64, scores: impl IntoIterator<Item = (f64, bool)>) -> Self {
        let mut counts = Self::default();
        for (score, truth) in scores {
            *match (score > limit, truth) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, true) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            } += 1;
        }
        counts
    }

    /// 0 where it is undefined, as are the next two.
    pub fn precision(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of the class that was told.
    pub fn recall(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }

    /// Share of all that was told rightly.
    pub fn accuracy(&self) -> f64 {
        let right = self.true_positives + self.true_negatives;
        share(right, right + self.false_positives + self.false_negatives)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Among how many latents a letter is split: as long as one latent more lifts the F1 by more than `jump` over the best so
/// far, it counts. `f1` is by number of latents, from 1.
pub fn split_into(f1: &[f64], jump: f64) -> usize {
    let mut best = f64::NEG_INFINITY;
    let accepted = f1.iter().take_while(|&&f1| {
        let better = f1 > best + jump;
        best = if better { f1 } else { best };
        better
    });
    accepted.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confusions() {
        let c = Confusion::above(0.5, [(0.6, true), (0.5, true), (0.9, false), (0.7, true), (-1.0, false)]);
        assert_eq!((c.true_positives, c.false_positives, c.false_negatives, c.true_negatives), (2, 1, 1, 1));
        assert_eq!((c.precision(), c.recall(), c.f1(), c.accuracy()), (2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 0.6));
        let none = Confusion::above(0.0, [(0.0, false)]);
        assert_eq!((none.precision(), none.recall(), none.f1(), none.accuracy()), (0.0, 0.0, 0.0, 1.0));
    }

    #[test]
    fn a_split_ends_at_the_first_latent_that_does_not_help() {
        assert_eq!(split_into(&[0.5, 0.6, 0.62, 0.9], 0.03), 2);
        assert_eq!(split_into(&[0.0, 0.0], 0.03), 1);
        assert_eq!(split_into(&[0.5, 0.531, 0.58], 0.03), 3);
        assert_eq!(split_into(&[], 0.03), 0);
        assert_eq!(split_into(&[f64::NAN, 0.5], 0.03), 0);
    }
}
