//! Logistic regression with an L2 penalty on a few columns, solved to the optimum by Newton's method.

use serde::{Deserialize, Serialize};

/// Weights and bias; positive scores are the positive class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// One a column.
    pub weights: Vec<f64>,
    /// Added to the weighted sum.
    pub bias: f64,
}

const STEPS: usize = 100;

impl Logistic {
    /// The minimum of `|w|^2 / 2 + c sum_i a_i log(1 + exp(-y_i (w x_i + b)))`: scikit-learn's `LogisticRegression(C=c)`.
    /// The bias is not penalised. `x` is `[rows, columns]`; `sample_weights` are all 1 if empty.
    pub fn fit(x: &[f64], columns: usize, positive: &[bool], sample_weights: &[f64], c: f64) -> Self {
        let size = columns + 1;
        // Around the means the bias hardly depends on the weights, which keeps the equations well-conditioned.
        let rows = positive.len().max(1) as f64;
        let means: Vec<f64> = (0..columns).map(|at| x.iter().skip(at).step_by(columns).sum::<f64>() / rows).collect();
        let x: Vec<f64> =
            x.chunks_exact(columns.max(1)).flat_map(|row| row.iter().zip(&means).map(|(v, m)| v - m)).collect();
        let problem = Problem { x: &x, columns, positive, sample_weights, c };
        let mut at = vec![0.0; size];
        let mut loss = problem.loss(&at);
        for _ in 0..STEPS {
            let (gradient, mut hessian) = problem.derivatives(&at);
            let Some(step) = solve(&mut hessian, &gradient) else { break };
            let slope: f64 = gradient.iter().zip(&step).map(|(g, s)| g * s).sum();
            // Newton's step is right near the optimum; far from it, half of it, and half again, until the loss falls.
            let mut scale = 1.0;
            let next = loop {
                let next: Vec<f64> = at.iter().zip(&step).map(|(a, s)| a - scale * s).collect();
                let found = problem.loss(&next);
                if found <= loss - 1e-4 * scale * slope || scale < 1e-8 {
                    break (next, found);
                }
                scale /= 2.0;
            };
            let done = loss - next.1 <= 1e-13 * loss.abs().max(1.0);
            if next.1 <= loss {
                (at, loss) = next;
            }
            if done {
                break;
            }
        }
        let bias = at[columns] - at.iter().zip(&means).map(|(w, m)| w * m).sum::<f64>();
        at.truncate(columns);
        Self { weights: at, bias }
    }

    /// Positive for the class.
    pub fn score(&self, x: impl IntoIterator<Item = f64>) -> f64 {
        self.weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + self.bias
    }
}

struct Problem<'a> {
    x: &'a [f64],
    columns: usize,
    positive: &'a [bool],
    sample_weights: &'a [f64],
    c: f64,
}

impl Problem<'_> {
    /// Score with the sign of the class, and the weight of the row in the loss.
    fn rows<'a>(&'a self, at: &'a [f64]) -> impl Iterator<Item = (&'a [f64], f64, f64, f64)> + 'a {
        let (weights, bias) = at.split_at(self.columns);
        self.positive.iter().enumerate().map(move |(row, &positive)| {
            let x = &self.x[row * self.columns..(row + 1) * self.columns];
            let score: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias[0];
            let sign = if positive { 1.0 } else { -1.0 };
            (x, sign, sign * score, self.c * self.sample_weights.get(row).copied().unwrap_or(1.0))
        })
    }

    fn loss(&self, at: &[f64]) -> f64 {
        let penalty: f64 = at[..self.columns].iter().map(|w| w * w / 2.0).sum();
        penalty + self.rows(at).map(|(_, _, margin, weight)| weight * log_one_plus_exp(-margin)).sum::<f64>()
    }

    /// Gradient, and the lower half of the Hessian, row-major.
    fn derivatives(&self, at: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (columns, size) = (self.columns, self.columns + 1);
        let (mut gradient, mut hessian) = (vec![0.0; size], vec![0.0; size * size]);
        for (x, sign, margin, weight) in self.rows(at) {
            let wrong = 1.0 / (1.0 + margin.exp());
            let (slope, curve) = (-weight * sign * wrong, weight * wrong * (1.0 - wrong));
            for i in 0..columns {
                gradient[i] += slope * x[i];
                for j in 0..=i {
                    hessian[i * size + j] += curve * x[i] * x[j];
                }
                hessian[columns * size + i] += curve * x[i];
            }
            gradient[columns] += slope;
            hessian[columns * size + columns] += curve;
        }
        for i in 0..columns {
            gradient[i] += at[i];
            hessian[i * size + i] += 1.0;
        }
        // All rows far on their side leave no curvature for the bias.
        hessian[columns * size + columns] += 1e-10;
        (gradient, hessian)
    }
}

fn log_one_plus_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `matrix^-1 vector` by Cholesky's decomposition, in place; `None` if the matrix is not positive definite.
fn solve(matrix: &mut [f64], vector: &[f64]) -> Option<Vec<f64>> {
    let n = vector.len();
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| matrix[i * n + k] * matrix[j * n + k]).sum();
            let rest = matrix[i * n + j] - sum;
            matrix[i * n + j] = if i == j { rest.sqrt() } else { rest / matrix[j * n + j] };
        }
        // A negative rest has no root.
        if matrix[i * n + i].is_nan() || matrix[i * n + i] == 0.0 {
            return None;
        }
    }
    let mut out = vector.to_vec();
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| matrix[i * n + k] * out[k]).sum();
        out[i] = (out[i] - sum) / matrix[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| matrix[k * n + i] * out[k]).sum();
        out[i] = (out[i] - sum) / matrix[i * n + i];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunelens_core::rng::Rng;

    /// Gradient of the loss by its definition.
    fn gradient(fit: &Logistic, x: &[f64], positive: &[bool], a: &[f64], c: f64) -> Vec<f64> {
        let k = fit.weights.len();
        let mut out = fit.weights.clone();
        out.push(0.0);
        for (row, &positive) in positive.iter().enumerate() {
            let x = &x[row * k..(row + 1) * k];
            let p = 1.0 / (1.0 + (-fit.score(x.iter().copied())).exp());
            let wrong = c * a.get(row).unwrap_or(&1.0) * (p - f64::from(u8::from(positive)));
            out.iter_mut().zip(x.iter().chain(&[1.0])).for_each(|(o, x)| *o += wrong * x);
        }
        out
    }

    #[test]
    fn the_gradient_vanishes_at_the_optimum() {
        let mut rng = Rng::named(1, "logistic");
        for (k, n, scale, shift, c) in [(1, 50, 1.0, 0.0, 1.0), (5, 60, 100.0, 1000.0, 1.0), (20, 30, 0.01, 3.0, 10.0)]
        {
            let x: Vec<f64> = (0..n * k).map(|_| shift + scale * rng.normal()).collect();
            let positive: Vec<bool> = (0..n).map(|row| x[row * k] + scale * rng.normal() > shift).collect();
            let weights: Vec<f64> = (0..n).map(|row| 0.5 + (row % 3) as f64).collect();
            for weights in [&[][..], &weights] {
                let fit = Logistic::fit(&x, k, &positive, weights, c);
                let found = gradient(&fit, &x, &positive, weights, c);
                let size = x.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                assert!(found.iter().all(|g| g.abs() < 1e-6 * size), "{found:?}");
            }
        }
    }

    #[test]
    fn separable_constant_and_empty_data_are_solved_too() {
        let fit = Logistic::fit(&[-1.0, -2.0, 1.0, 2.0], 1, &[false, false, true, true], &[], 1.0);
        assert!(fit.weights[0] > 0.5 && fit.weights[0].is_finite() && fit.bias.abs() < 1e-9);
        let fit = Logistic::fit(&[0.0; 8], 2, &[true, true, true, false], &[], 1.0);
        assert!(fit.weights.iter().all(|w| w.abs() < 1e-12) && (fit.bias - 3f64.ln()).abs() < 1e-9, "{fit:?}");
        let fit = Logistic::fit(&[1.0, 2.0], 1, &[true, true], &[], 1.0);
        assert!(fit.bias.is_finite());
        assert!(Logistic::fit(&[], 3, &[], &[], 1.0).score([1.0, 2.0, 3.0]).is_finite());
    }
}
