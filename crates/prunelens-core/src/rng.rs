//! A small seeded generator whose numbers never change between versions: resumed runs and recipes depend on it.

use std::f64::consts::TAU;

use crate::digest::fnv1a;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for one purpose (`stream`) of the run seeded with `seed`; streams do not overlap in practice.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed);
        let base = rng.next_u64();
        Self(base ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// A generator for the purpose that a name says.
    pub fn named(seed: u64, name: &str) -> Self {
        Self::new(seed, fnv1a(name.bytes().map(u64::from)))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`; `n` must not be 0. The bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller, the cosine half).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// A random permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_hold_every_element_once_and_depend_on_the_stream() {
        let mut first = Rng::new(7, 1).permutation(100);
        assert_eq!(first, Rng::new(7, 1).permutation(100));
        assert_ne!(first, Rng::new(7, 2).permutation(100));
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut rng = Rng::new(0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
