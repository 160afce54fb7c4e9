//! Sums over positions of one latent's activations: how often, how strongly, and how alike to another's.

use serde::{Deserialize, Serialize};

use super::top::Top;

/// One latent in one variant. Positions at which it does not fire add nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Positions at which it fires.
    pub fired: u64,
    /// Of its activations.
    pub sum: f64,
    pub squares: f64,
    /// Of those above 0.
    least: f32,
    pub most: f32,
    /// Where it is most active.
    pub top: Top,
}

impl Moments {
    /// A position at which it fires.
    pub fn add(&mut self, activation: f32, position: u32) {
        let value = f64::from(activation);
        self.least = if self.fired == 0 { activation } else { self.least.min(activation) };
        self.most = self.most.max(activation);
        self.fired += 1;
        self.sum += value;
        self.squares += value * value;
        self.top.add(activation, position);
    }

    /// Mean of its activations where it fires; NaN if it never does.
    pub fn mean(&self) -> f64 {
        self.sum / self.fired as f64
    }

    /// Its strongest activation; NaN if it never fires.
    pub fn max(&self) -> f64 {
        if self.fired == 0 { f64::NAN } else { f64::from(self.most) }
    }

    /// Whether it has one value at all `n` positions.
    fn constant(&self, n: u64) -> bool {
        self.fired == 0 || (self.fired == n && self.least == self.most)
    }

    fn centred(&self, n: u64) -> f64 {
        self.squares - self.sum * self.sum / n as f64
    }
}

/// Correlation over `n` positions, with `product` the sum of the products there; NaN where either is constant.
pub fn pearson(n: u64, a: &Moments, b: &Moments, product: f64) -> f64 {
    if a.constant(n) || b.constant(n) {
        return f64::NAN;
    }
    let shared = product - a.sum * b.sum / n as f64;
    (shared / (a.centred(n).sqrt() * b.centred(n).sqrt())).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> Moments {
        let mut out = Moments::default();
        values.iter().zip(0..).filter(|(v, _)| **v > 0.0).for_each(|(v, at)| out.add(*v, at));
        out
    }

    #[test]
    fn correlations_are_of_all_positions_and_not_of_constants() {
        let (a, b) = ([0.0, 1.0, 0.0, 3.0_f32], [1.0, 0.0, 0.0, 2.0_f32]);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        // Deviations -1, 0, -1, 2 and 0.25, -0.75, -0.75, 1.25.
        let expected = 3.0 / (6_f64.sqrt() * 2.75_f64.sqrt());
        assert!((pearson(4, &moments(&a), &moments(&b), product(&a, &b)) - expected).abs() < 1e-15);
        let (flat, silent) = ([40.0; 4], [0.0; 4]);
        assert!(pearson(4, &moments(&a), &moments(&flat), product(&a, &flat)).is_nan());
        assert!(pearson(4, &moments(&silent), &moments(&a), 0.0).is_nan());
        assert!(moments(&silent).max().is_nan() && moments(&silent).mean().is_nan());
        assert_eq!((moments(&a).max(), moments(&a).mean()), (3.0, 2.0));
    }
}
