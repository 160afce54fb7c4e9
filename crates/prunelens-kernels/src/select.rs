//! The k largest of many values, the lowest index first among equals.

use std::cmp::Ordering;

/// Which latents of a token fire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// Of the positive ones the k largest of each token.
    Token(usize),
    /// Of the positive ones so many, the largest of the whole batch.
    Batch(usize),
    /// All positive ones.
    Positive,
}

/// The loss that teaches dead latents: the largest of them reconstruct what the others leave.
#[derive(Clone, Copy, Debug)]
pub struct Auxiliary {
    /// Its weight; 0 leaves it out.
    pub weight: f32,
    /// Dead latents that take part for each token.
    pub k: usize,
}

impl Auxiliary {
    /// Of kinds that teach them otherwise.
    pub const NONE: Self = Self { weight: 0.0, k: 0 };
}

/// A latent and its pre-activation.
pub type Candidate = (u32, f32);

/// Larger value first, then lower index: a total order for values without NaN.
pub fn by_value(a: &Candidate, b: &Candidate) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Collects candidates and forgets those that cannot be among the `k` largest.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    kept: Vec<Candidate>,
    /// No candidate at or below this value can be among the `k` largest of those seen so far (unless by a lower index).
    floor: f32,
}

impl TopK {
    /// Candidates at or below zero never count.
    pub fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), floor: 0.0 }
    }

    /// Only larger values (or equal ones of lower index) are of interest.
    #[inline]
    pub fn floor(&self) -> f32 {
        self.floor
    }

    /// Candidates must come in ascending index order within one collector.
    #[inline]
    pub fn push(&mut self, candidate: Candidate) {
        if candidate.1 > self.floor {
            self.kept.push(candidate);
            if self.kept.len() >= 4 * self.k.max(8) {
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        if self.k == 0 {
            self.kept.clear();
        } else if self.kept.len() > self.k {
            let (_, kth, _) = self.kept.select_nth_unstable_by(self.k - 1, by_value);
            self.floor = kth.1;
            self.kept.truncate(self.k);
        }
    }

    /// The `k` largest of several collectors, best first.
    pub fn merge(collectors: impl Iterator<Item = Self>, k: usize) -> Vec<Candidate> {
        let mut all = Self::new(k);
        for collector in collectors {
            all.kept.extend(collector.kept);
        }
        all.shrink();
        all.kept.sort_unstable_by(by_value);
        all.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_largest_and_the_first_of_equals() {
        let values: Vec<f32> = (0..1000_u32).map(|i| ((i * 7919) % 311) as f32 - 100.0).collect();
        for k in [0, 1, 7, 32, 400, 2000] {
            let mut want: Vec<Candidate> = (0..).zip(values.iter().copied()).filter(|c| c.1 > 0.0).collect();
            want.sort_by(by_value);
            want.truncate(k);
            let parts = values.chunks(130).enumerate().map(|(part, values)| {
                let mut top = TopK::new(k);
                (part as u32 * 130..).zip(values).for_each(|(i, v)| top.push((i, *v)));
                top
            });
            assert_eq!(TopK::merge(parts, k), want, "k = {k}");
        }
    }
}
