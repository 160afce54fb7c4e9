//! Cross-entropy and Kullback-Leibler divergence of rows of logits, without softmaxes in memory.

use super::simd::{dispatch, exp};

/// Losses of logits at every position, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLosses {
    /// Cross-entropy of the next token; NaN where there is none in the vocabulary.
    pub ce: Vec<f32>,
    /// Kullback-Leibler divergence of these logits from those that they are compared with.
    pub kl: Vec<f32>,
}

/// Some logits, and others compared with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Cross-entropies as in [`TokenLosses::ce`].
    pub ce: Vec<f32>,
    /// Of each of the others.
    pub others: Vec<TokenLosses>,
}

dispatch! {
    /// Maximum of a row, and the logarithm of the sum of its exponentials.
    pub fn log_sum_exp(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in row.chunks(16) {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane = if *v > *lane { *v } else { *lane };
            }
        }
        let max = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0_f64;
        // f32 within a block, f64 across: a vocabulary of 100,000 loses no digits.
        for block in row.chunks(1024) {
            let mut sums = [0.0_f32; 16];
            for chunk in block.chunks(16) {
                for (sum, v) in sums.iter_mut().zip(chunk) {
                    *sum += exp::<FMA>(*v - max);
                }
            }
            total += f64::from(sums.iter().sum::<f32>());
        }
        (f64::from(max) + total.ln()) as f32
    }
}

dispatch! {
    /// `sum_v p (log p - log q)` for two rows of logits and their [`log_sum_exp`].
    pub fn kl_divergence(p: &[f32], p_lse: f32, q: &[f32], q_lse: f32) -> f32 {
        let mut total = 0.0_f64;
        for (p, q) in p.chunks(1024).zip(q.chunks(1024)) {
            let mut sums = [0.0_f32; 16];
            for (p, q) in p.chunks(16).zip(q.chunks(16)) {
                for ((sum, p), q) in sums.iter_mut().zip(p).zip(q) {
                    let log_p = *p - p_lse;
                    *sum += exp::<FMA>(log_p) * (log_p - (*q - q_lse));
                }
            }
            total += f64::from(sums.iter().sum::<f32>());
        }
        total as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_plain_loops() {
        let n = 3001;
        let p: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.2).collect();
        let q: Vec<f32> = (0..n).map(|i| ((i * 53 % 89) as f32 - 40.0) * 0.2).collect();
        let lse = |x: &[f32]| x.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
        let (a, b) = (lse(&p), lse(&q));
        assert!((f64::from(log_sum_exp(&p)) - a).abs() < 1e-5);
        let want: f64 =
            p.iter().zip(&q).map(|(p, q)| (f64::from(*p) - a).exp() * (f64::from(*p) - a - f64::from(*q) + b)).sum();
        let got = kl_divergence(&p, log_sum_exp(&p), &q, log_sum_exp(&q));
        assert!((f64::from(got) - want).abs() < 1e-4 * want, "{got} {want}");
        assert!(kl_divergence(&p, a as f32, &p, a as f32).abs() < 1e-6);
    }
}
