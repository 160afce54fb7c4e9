//! Matrices of a low rank: plain (svd), with inputs weighed by their size (ASVD, arXiv 2312.05821), or whitened (SVD-LLM,
//! arXiv 2403.07378, truncation alone).

use super::{
    calibrate::{Before, InputMoments, Work},
    matrices::Matrix,
};
use crate::{
    error::Result,
    linalg::{cholesky, cut, product, solve_right},
    model::Model,
    progress::{Listener, Progress},
};

/// What the error is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowRank {
    /// The weights alone.
    Svd,
    /// Weights times the size of their inputs.
    Asvd,
    /// The outputs.
    SvdLlm,
}

/// Exponent of an input's mean size.
const ALPHA: f64 = 0.5;

impl LowRank {
    /// As specs spell them.
    pub const NAMES: [(&str, Self); 3] = [("svd", Self::Svd), ("asvd", Self::Asvd), ("svd-llm", Self::SvdLlm)];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, rule)| *rule == self).map_or("svd", |(name, _)| name)
    }
}

/// The rank at which two factors take a share of what the matrix does.
fn rank(share: f64, rows: usize, cols: usize) -> usize {
    ((share * rows as f64 * cols as f64 / (rows + cols) as f64) as usize).max(1)
}

impl Model {
    /// All matrices of the blocks at the rank at which their factors take this share of their storage.
    pub fn low_rank(&self, rule: LowRank, share: f64, batches: &[Vec<Vec<u32>>], progress: Listener) -> Result<Self> {
        let total = self.config.n_layers as u64;
        if rule == LowRank::Svd {
            let mut model = self.clone();
            for layer in 0..self.config.n_layers {
                progress(Progress {
                    what: "cutting the model (svd)".into(),
                    done: layer as u64,
                    total,
                    unit: "layers",
                })?;
                model.change_block(layer, |matrix| {
                    let w = wide(matrix);
                    put(matrix, &cut(&w, matrix.rows, matrix.cols, rank(share, matrix.rows, matrix.cols)));
                    Ok(())
                })?;
            }
            return Ok(model);
        }
        let what = if rule == LowRank::Asvd { "cutting the model (asvd)" } else { "cutting the model (svd-llm)" };
        let work = Work { what, before: Before::Dense, second: rule == LowRank::SvdLlm };
        self.calibrated(batches, work, progress, |model, layer, seen, _| {
            let measures = seen.iter().map(|seen| Measure::new(rule, seen)).collect::<Result<Vec<_>>>()?;
            model.change_block(layer, |matrix| {
                let made = measures[matrix.part as usize].cut(matrix, rank(share, matrix.rows, matrix.cols));
                put(matrix, &made);
                Ok(())
            })
        })
    }
}

fn wide(matrix: &Matrix) -> Vec<f64> {
    matrix.values.iter().map(|w| f64::from(*w)).collect()
}

fn put(matrix: &mut Matrix, values: &[f64]) {
    matrix.values.iter_mut().zip(values).for_each(|(w, v)| *w = *v as f32);
}

/// What weights are multiplied by before they are cut.
enum Measure {
    /// A number an input.
    Sizes(Vec<f64>),
    /// A lower factor of the second moments.
    Factor(Vec<f64>),
}

impl Measure {
    fn new(rule: LowRank, seen: &InputMoments) -> Result<Self> {
        if rule == LowRank::Asvd {
            let size = |mean: &f32| f64::from(*mean).powf(ALPHA) + 1e-6;
            return Ok(Self::Sizes(seen.mean_abs().iter().map(size).collect()));
        }
        let n = seen.second.len().isqrt();
        let mut h = seen.second.clone();
        let more = 1e-6 * (0..n).map(|i| h[i * n + i]).sum::<f64>() / n.max(1) as f64;
        if more == 0.0 {
            // Nothing ever comes in, as behind a block that was taken out: any approximation does, and the plain one is taken.
            return Ok(Self::Sizes(vec![1.0; n]));
        }
        (0..n).for_each(|i| h[i * n + i] += more);
        Ok(Self::Factor(cholesky(h, n)?))
    }

    fn cut(&self, matrix: &Matrix, rank: usize) -> Vec<f64> {
        let (mut w, rows, cols) = (wide(matrix), matrix.rows, matrix.cols);
        match self {
            Self::Sizes(sizes) => {
                w.chunks_mut(cols).for_each(|row| row.iter_mut().zip(sizes).for_each(|(w, size)| *w *= size));
                let mut made = cut(&w, rows, cols, rank);
                made.chunks_mut(cols).for_each(|row| row.iter_mut().zip(sizes).for_each(|(w, size)| *w /= size));
                made
            }
            Self::Factor(lower) => {
                let mut made = cut(&product(&w, lower, cols, cols), rows, cols, rank);
                solve_right(&mut made, lower, cols);
                made
            }
        }
    }
}
