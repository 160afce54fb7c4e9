//! Which rows stand for a class and which against it, as SAEBench draws them.

use prunelens_core::rng::Rng;

/// Where chance comes from.
pub trait Permutations {
    /// A permutation of `0..n`.
    fn permutation(&mut self, n: usize) -> Vec<u32>;
}

impl Permutations for Rng {
    fn permutation(&mut self, n: usize) -> Vec<u32> {
        Self::permutation(self, n)
    }
}

/// Rows with whether they are positive, in a random order.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw(pub Vec<(usize, bool)>);

impl Draw {
    /// One class against equally many rows of the others: an equal share of each, rounded up, of which as many are taken as
    /// there are positives.
    pub fn one_against_rest(sets: &[Vec<usize>], class: usize, chance: &mut impl Permutations) -> Self {
        let positives = &sets[class];
        let share = positives.len().div_ceil((sets.len() - 1).max(1));
        let mut negatives = Vec::new();
        for (_, set) in sets.iter().enumerate().filter(|(at, _)| *at != class) {
            let order = chance.permutation(set.len());
            negatives.extend(order.iter().take(share).map(|&at| set[at as usize]));
        }
        Self::shuffled(positives, &negatives, chance)
    }

    /// All rows of one set against equally many of another.
    pub fn pair(positives: &[usize], negatives: &[usize], chance: &mut impl Permutations) -> Self {
        Self::shuffled(positives, negatives, chance)
    }

    fn shuffled(positives: &[usize], negatives: &[usize], chance: &mut impl Permutations) -> Self {
        let order = chance.permutation(negatives.len());
        let negatives = order.iter().take(positives.len()).map(|&at| (negatives[at as usize], false));
        let rows: Vec<_> = positives.iter().map(|&row| (row, true)).chain(negatives).collect();
        let order = chance.permutation(rows.len());
        Self(order.iter().map(|&at| rows[at as usize]).collect())
    }

    /// Share of the rows on whose side of 0 their logit is.
    pub fn accuracy(&self, logit: impl Fn(usize) -> f64) -> f64 {
        let right = self.0.iter().filter(|(row, positive)| (logit(*row) > 0.0) == *positive).count();
        right as f64 / self.0.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No chance at all.
    struct Identity(Vec<usize>);

    impl Permutations for Identity {
        fn permutation(&mut self, n: usize) -> Vec<u32> {
            self.0.push(n);
            (0..n as u32).collect()
        }
    }

    #[test]
    fn as_many_negatives_as_positives_from_all_other_classes() {
        let sets = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9, 10, 11], vec![12, 13, 14, 15]];
        let mut chance = Identity(Vec::new());
        let draw = Draw::one_against_rest(&sets, 1, &mut chance);
        let rows: Vec<_> = draw.0.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [4, 5, 6, 7, 0, 1, 8, 9]);
        assert_eq!(draw.0.iter().filter(|(_, positive)| *positive).count(), 4);
        assert_eq!(chance.0, [4, 4, 4, 6, 8], "one a class, one over what was taken, one over all");
        assert_eq!(draw.accuracy(|row| if (4..8).contains(&row) { 1.0 } else { -1.0 }), 1.0);
        assert_eq!(draw.accuracy(|_| 0.0), 0.5, "0 is not positive");
    }

    #[test]
    fn draws_hold_every_positive_once() {
        let sets = vec![(0..9).collect(), (9..18).collect::<Vec<_>>(), (18..27).collect()];
        let mut rng = Rng::named(3, "test");
        let mut draw = Draw::one_against_rest(&sets, 2, &mut rng).0;
        draw.sort_unstable();
        draw.dedup();
        assert_eq!(draw.len(), 18);
        assert!(draw.iter().all(|(row, positive)| *positive == (*row >= 18)));
        assert_eq!(Draw::pair(&sets[0], &sets[1], &mut rng).0.len(), 18);
    }
}
