//! Logistic regression on a handful of latents, as scikit-learn fits it.

use prunelens_core::optim::lbfgs::{Options, minimise};

/// Weights and bias.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fit {
    /// One a feature.
    pub weights: Vec<f64>,
    /// Added to the weighted sum.
    pub bias: f64,
}

impl Fit {
    /// Weighted sum and bias: positive for the class.
    pub fn score(&self, x: &[f64]) -> f64 {
        self.bias + self.weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
    }
}

/// One row of the data, or several equal ones.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Features.
    pub x: Vec<f64>,
    /// It belongs to the class.
    pub positive: bool,
    /// How many such rows this one stands for.
    pub count: f64,
}

/// Most iterations, as SAEBench asks for.
const ITERATIONS: usize = 500;

/// Minimise half the squared weights plus the summed loss, in which both classes weigh the same (C = 1, balanced weights, no
/// penalty on the bias), as far as scikit-learn does.
pub fn balanced(samples: &[Sample], k: usize) -> Fit {
    let total: f64 = samples.iter().map(|s| s.count).sum();
    let positives: f64 = samples.iter().filter(|s| s.positive).map(|s| s.count).sum();
    if positives == 0.0 || positives == total {
        return Fit { weights: vec![0.0; k], bias: 0.0 };
    }
    // Balanced weights sum to the number of rows: over it the loss is a mean.
    let share = |s: &Sample| s.count / (2.0 * if s.positive { positives } else { total - positives });
    let found = minimise(vec![0.0; k + 1], Options::scikit_learn(ITERATIONS), |at, gradient| {
        let (weights, bias) = (&at[..k], at[k]);
        gradient[..k].iter_mut().zip(weights).for_each(|(g, w)| *g = w / total);
        gradient[k] = 0.0;
        let mut loss = weights.iter().map(|w| w * w).sum::<f64>() / (2.0 * total);
        for s in samples {
            let z = bias + weights.iter().zip(&s.x).map(|(w, x)| w * x).sum::<f64>();
            let (signed, share) = (if s.positive { -z } else { z }, share(s));
            loss += share * (signed.max(0.0) + (-signed.abs()).exp().ln_1p());
            let error = share * (1.0 / (1.0 + (-z).exp()) - f64::from(u8::from(s.positive)));
            gradient[..k].iter_mut().zip(&s.x).for_each(|(g, x)| *g += error * x);
            gradient[k] += error;
        }
        loss
    });
    Fit { bias: found[k], weights: found[..k].to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(x: &[f64], positive: bool) -> Sample {
        Sample { x: x.to_vec(), positive, count: 1.0 }
    }

    #[test]
    fn the_slope_is_small_at_the_fit() {
        let samples: Vec<_> = (0..60)
            .map(|i| {
                let t = f64::from(i);
                sample(&[(t * 0.7).sin() + if i % 4 == 0 { 0.8 } else { 0.0 }, (t * 1.3).cos()], i % 4 == 0)
            })
            .collect();
        let fit = balanced(&samples, 2);
        let slope = |of: &dyn Fn(&Sample) -> f64, penalty: f64| {
            let slopes = samples.iter().map(|s| {
                let p = 1.0 / (1.0 + (-fit.score(&s.x)).exp());
                // 15 positives and 45 negatives of 60.
                if s.positive { 2.0 * (p - 1.0) * of(s) } else { 60.0 / 90.0 * p * of(s) }
            });
            slopes.sum::<f64>() + penalty
        };
        // A mean slope of 1e-4 over 60 rows.
        assert!(slope(&|_| 1.0, 0.0).abs() < 6e-3);
        assert!(slope(&|s| s.x[0], fit.weights[0]).abs() < 6e-3 && slope(&|s| s.x[1], fit.weights[1]).abs() < 6e-3);
        assert!(fit.weights[0] > 0.5);
    }

    #[test]
    fn counted_rows_weigh_like_repeated_ones() {
        let mut once = vec![sample(&[1.0], true), sample(&[0.0], false), sample(&[0.4], true)];
        let mut repeated = once.clone();
        repeated.extend(vec![sample(&[0.0], false); 4]);
        once[1].count = 5.0;
        let (a, b) = (balanced(&once, 1), balanced(&repeated, 1));
        assert!((a.weights[0] - b.weights[0]).abs() < 1e-9 && (a.bias - b.bias).abs() < 1e-9);
    }

    #[test]
    fn a_silent_latent_scores_nothing() {
        // 7 positives and 93 negatives, all the same: the balanced optimum is zero, exactly.
        let mut samples = vec![sample(&[0.0], true), sample(&[0.0], false)];
        (samples[0].count, samples[1].count) = (7.0, 93.0);
        assert_eq!(balanced(&samples, 1), Fit { weights: vec![0.0], bias: 0.0 });
        assert_eq!(balanced(&samples[..1], 1), Fit { weights: vec![0.0], bias: 0.0 }, "one class only");
    }

    #[test]
    fn classes_far_apart_stay_finite() {
        let samples = [sample(&[0.0], false), sample(&[1e6], true)];
        let fit = balanced(&samples, 1);
        assert!(fit.weights[0].is_finite() && fit.score(&[1e6]) > 0.0 && fit.score(&[0.0]) < 0.0);
    }
}
