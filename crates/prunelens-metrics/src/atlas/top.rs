//! Where a latent is most active.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

/// Positions kept a latent and variant.
pub const TOP: usize = 100;

/// The strongest positions of one latent, at most [`TOP`], the earlier first among equals.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Top(BinaryHeap<Reverse<u64>>);

impl Top {
    /// A position at which it fires.
    pub fn add(&mut self, activation: f32, position: u32) {
        // Bits of positive floats are ordered as they are.
        let key = Reverse(u64::from(activation.to_bits()) << 32 | u64::from(!position));
        if self.0.len() < TOP {
            self.0.push(key);
        } else if let Some(mut least) = self.0.peek_mut()
            && key < *least
        {
            *least = key;
        }
    }

    fn positions(&self) -> Vec<u32> {
        let mut positions: Vec<u32> = self.0.iter().map(|Reverse(key)| !(*key as u32)).collect();
        positions.sort_unstable();
        positions
    }

    /// Positions in both, of those in either; NaN if there are none.
    pub fn jaccard(&self, other: &Self) -> f64 {
        let (a, b) = (self.positions(), other.positions());
        let both = a.iter().filter(|position| b.binary_search(position).is_ok()).count();
        both as f64 / (a.len() + b.len() - both) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_stay_and_the_earlier_of_equals() {
        let mut top = Top::default();
        // 0.5 at 0, 7, 14, ...: the last of them have no place.
        let activation = |at: u32| if at.is_multiple_of(7) { 0.5 } else { 1.0 + (at % 5) as f32 };
        (0..130).for_each(|at| top.add(activation(at), at));
        let mut expected: Vec<u32> = (0..130).collect();
        expected.sort_by(|a, b| activation(*b).total_cmp(&activation(*a)).then(a.cmp(b)));
        expected.truncate(TOP);
        expected.sort_unstable();
        assert_eq!(top.positions(), expected);

        let mut other = Top::default();
        assert!(other.jaccard(&Top::default()).is_nan());
        assert_eq!(top.jaccard(&other), 0.0);
        [expected[0], expected[1], 1000].into_iter().for_each(|at| other.add(1.0, at));
        assert_eq!(other.jaccard(&top), 2.0 / 101.0);
    }
}
