//! The activation part of the core metric: what the SAE makes of the activations alone, on the tokens that count.

use prunelens_kernels::{Firing, TokenErrors};
use serde::{Deserialize, Serialize};

use super::{blocks::Block, inputs::Inputs};

/// Sums over the batches seen so far, for one variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActivationSums {
    batches: f64,
    tokens: f64,
    totals: TokenSums,
    /// Sum over tokens of `|r|^2` divided by the number of kept tokens of the token's batch.
    resid_sq_per_batch_token: f64,
    /// Sums over batches of the batch's means.
    mean_norm_sq: f64,
    mean_resid_sq: f64,
    bias: f64,
    /// Sum of `x` and of `|x|^2` over tokens, for the variance about the mean of all batches.
    sum: Vec<f64>,
    norm_sq: f64,
    l0: f64,
    l1: f64,
    latents: LatentCounts,
    /// Tokens and squared errors of each row; what belongs to losses is 0.
    rows: Vec<Block>,
}

/// How often each latent fired on kept tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LatentCounts {
    tokens: Vec<u64>,
    /// Rows in which it fired at least once.
    rows: Vec<u64>,
}

/// Sums over tokens of what is computed for each token.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct TokenSums {
    norm_in: f64,
    norm_out: f64,
    ratio: f64,
    cossim: f64,
    /// 1 - |r|^2 / |x - mean of the batch|^2.
    legacy: f64,
    resid_sq: f64,
    out_sq: f64,
    dot: f64,
}

impl TokenSums {
    fn add(self, other: Self) -> Self {
        Self {
            norm_in: self.norm_in + other.norm_in,
            norm_out: self.norm_out + other.norm_out,
            ratio: self.ratio + other.ratio,
            cossim: self.cossim + other.cossim,
            legacy: self.legacy + other.legacy,
            resid_sq: self.resid_sq + other.resid_sq,
            out_sq: self.out_sq + other.out_sq,
            dot: self.dot + other.dot,
        }
    }

    fn of(inputs: &Inputs, token: usize, errors: TokenErrors) -> Self {
        let TokenErrors { resid_sq, out_sq, dot } = errors;
        let (norm_in, norm_out) = (inputs.spread.norm_sq[token].sqrt(), out_sq.sqrt());
        Self {
            norm_in,
            norm_out,
            ratio: norm_out / if norm_in < 1e-4 { 1.0 } else { norm_in },
            cossim: dot / (norm_in * norm_out),
            legacy: 1.0 - resid_sq / inputs.spread.centred_sq[token],
            resid_sq,
            out_sq,
            dot,
        }
    }
}

/// Figures of the activation part; NaN where undefined. Names and formulas are SAEBench's, its oddities included,
/// but for the last two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationFigures {
    /// `1 - R / (S - (S / d_in)^2)` with S and R the means over batches of the batch means of `|x|^2` and `|r|^2`.
    pub explained_variance: f64,
    /// Mean over tokens of `1 - |r|^2 / |x - mean of the batch|^2`.
    pub explained_variance_legacy: f64,
    /// Mean over tokens of `|r|^2` divided by the number of tokens in the token's batch (not by d_in).
    pub mse: f64,
    /// Mean cosine of an activation and its reconstruction.
    pub cossim: f64,
    /// Mean norm of the activations.
    pub l2_norm_in: f64,
    /// Mean norm of the reconstructions.
    pub l2_norm_out: f64,
    /// Mean of the ratios of norms.
    pub l2_ratio: f64,
    /// Mean over batches of mean `|out|^2` over mean `x . out`.
    pub relative_reconstruction_bias: f64,
    /// Latents that fire on a token, on average.
    pub l0: f64,
    /// Sum of a token's latents, on average.
    pub l1: f64,
    /// `sum |r|^2 / (tokens d_in)`.
    pub mse_per_element: f64,
    /// `1 - sum |r|^2 / sum |x - mean x|^2` with the mean over all tokens.
    pub variance_explained: f64,
}

/// Density figures, one value a latent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DensityFigures {
    /// Share of the kept tokens on which it fired.
    pub density: Vec<f64>,
    /// Tokens on which it fired per row in which it fired; NaN if it never did.
    pub consistent_activation_heuristic: Vec<f64>,
}

impl ActivationSums {
    /// Of no token yet.
    pub fn new(d_in: usize, d_sae: usize) -> Self {
        Self {
            batches: 0.0,
            tokens: 0.0,
            totals: TokenSums::default(),
            resid_sq_per_batch_token: 0.0,
            mean_norm_sq: 0.0,
            mean_resid_sq: 0.0,
            bias: 0.0,
            sum: vec![0.0; d_in],
            norm_sq: 0.0,
            l0: 0.0,
            l1: 0.0,
            latents: LatentCounts { tokens: vec![0; d_sae], rows: vec![0; d_sae] },
            rows: Vec::new(),
        }
    }

    /// Take one batch: its inputs, what became of them, and what fired.
    pub fn add(&mut self, inputs: &Inputs, errors: &[TokenErrors], firing: &Firing) {
        self.latents.add(firing);
        let kept: Vec<usize> = (0..inputs.kept.len()).filter(|&t| inputs.kept[t]).collect();
        let first = self.rows.len();
        self.rows.resize(first + inputs.kept.len().div_ceil(inputs.length.max(1)), Block::default());
        for &t in &kept {
            let row = &mut self.rows[first + t / inputs.length];
            row.tokens += 1.0;
            row.resid_sq += errors[t].resid_sq;
        }
        if inputs.tokens == 0 {
            return;
        }
        let per_token = kept.iter().map(|&t| TokenSums::of(inputs, t, errors[t]));
        let batch = per_token.fold(TokenSums::default(), TokenSums::add);
        let tokens = kept.len() as f64;
        let norm_sq: f64 = kept.iter().map(|&t| inputs.spread.norm_sq[t]).sum();

        self.batches += 1.0;
        self.tokens += tokens;
        self.totals = self.totals.add(batch);
        self.resid_sq_per_batch_token += batch.resid_sq / tokens;
        self.mean_norm_sq += norm_sq / tokens;
        self.mean_resid_sq += batch.resid_sq / tokens;
        self.bias += batch.out_sq / batch.dot;
        self.norm_sq += norm_sq;
        self.sum.iter_mut().zip(&inputs.spread.sum).for_each(|(s, v)| *s += v);
        self.l0 += firing.l0() as f64;
        self.l1 += firing.l1;
    }

    /// Of each row so far.
    pub fn rows(&self) -> &[Block] {
        &self.rows
    }

    /// Figures so far; all NaN before the first batch.
    pub fn figures(&self) -> ActivationFigures {
        let (n, d_in) = (self.tokens, self.sum.len() as f64);
        let (s, r) = (self.mean_norm_sq / self.batches, self.mean_resid_sq / self.batches);
        let mean_sq: f64 = self.sum.iter().map(|s| (s / n) * (s / n)).sum();
        ActivationFigures {
            explained_variance: 1.0 - r / (s - (s / d_in).powi(2)),
            explained_variance_legacy: self.totals.legacy / n,
            mse: self.resid_sq_per_batch_token / n,
            cossim: self.totals.cossim / n,
            l2_norm_in: self.totals.norm_in / n,
            l2_norm_out: self.totals.norm_out / n,
            l2_ratio: self.totals.ratio / n,
            relative_reconstruction_bias: self.bias / self.batches,
            l0: self.l0 / n,
            l1: self.l1 / n,
            mse_per_element: self.totals.resid_sq / (n * d_in),
            variance_explained: 1.0 - self.totals.resid_sq / (self.norm_sq - n * mean_sq),
        }
    }

    /// How often each latent fires.
    pub fn density(&self) -> DensityFigures {
        let counts = &self.latents;
        DensityFigures {
            density: counts.tokens.iter().map(|&c| c as f64 / self.tokens).collect(),
            consistent_activation_heuristic: counts
                .tokens
                .iter()
                .zip(&counts.rows)
                .map(|(&t, &r)| t as f64 / r as f64)
                .collect(),
        }
    }
}

impl LatentCounts {
    fn add(&mut self, firing: &Firing) {
        self.tokens.iter_mut().zip(&firing.tokens).for_each(|(sum, more)| *sum += u64::from(*more));
        self.rows.iter_mut().zip(&firing.texts).for_each(|(sum, more)| *sum += u64::from(*more));
    }
}

#[cfg(test)]
mod tests;
