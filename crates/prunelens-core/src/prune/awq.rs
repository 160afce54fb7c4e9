//! AWQ (arXiv 2306.00978): inputs are scaled so that rounding hurts those that are large less; the scales are searched for, and
//! undone in the weights rather than folded into norms. No search of clipping.

use rayon::prelude::*;

use super::{
    calibrate::{Before, Inputs, Work},
    grid::{Grid, extremes},
    matrices::{f32s, like},
};
use crate::{
    error::{Error, Result},
    model::{Block, Layer, Model, Part},
    progress::Listener,
};

/// Exponents that are tried: i / 20.
const STEPS: usize = 20;

impl Model {
    /// All matrices of the blocks, asymmetric by group.
    pub fn awq(&self, batches: &[Vec<Vec<u32>>], grid: Grid, progress: Listener) -> Result<Self> {
        if !self.config.gated {
            return Err(Error::invalid(format!(
                "awq is not defined for {}: it needs an MLP with a gate; take gptq or rtn",
                self.config.family
            )));
        }
        let work = Work { what: "rounding the model (awq)", before: Before::Dense, second: false };
        self.calibrated(batches, work, progress, |model, layer, seen, streams| {
            let dense = self.layer(layer);
            let inputs = streams.inputs(dense)?;
            let mut block = dense.block.clone();
            for part in Part::ALL {
                // The output matrix of attention is scaled alone, and only if values are as wide as what it reads.
                let scaled = part != Part::O || self.config.n_kv_heads == self.config.n_heads;
                let weight = &dense.block.linear(part).weight;
                let (mut values, cols) = (f32s(weight)?, weight.dim(1)?);
                let width = grid.width(&format!("{part:?} of block {layer}"), cols)?;
                let rounding = Rounding { grid, width };
                let scales = if scaled {
                    search(dense, part, &seen[part as usize].mean_abs(), &inputs, rounding)?
                } else {
                    vec![1.0; cols]
                };
                rounding.scaled(&mut values, &scales);
                block.linear_mut(part).weight = like(values, weight)?;
            }
            model.blocks[layer] = block;
            Ok(())
        })
    }
}

/// The scales of a part's inputs with which its module's output changes least; of equal ones the first.
fn search(dense: Layer, part: Part, mean: &[f32], inputs: &[Inputs], rounding: Rounding) -> Result<Vec<f32>> {
    let weight = &dense.block.linear(part).weight;
    let original = f32s(weight)?;
    let wanted = inputs.iter().map(|inputs| inputs.output(dense, part)).collect::<Result<Vec<_>>>()?;
    let mut block: Block = dense.block.clone();
    let mut best: Option<(f64, Vec<f32>)> = None;
    for i in 0..STEPS {
        let scales = scales(mean, i as f32 / STEPS as f32);
        let mut values = original.clone();
        rounding.scaled(&mut values, &scales);
        block.linear_mut(part).weight = like(values, weight)?;
        let (mut loss, mut n) = (0.0, 0);
        for (inputs, wanted) in inputs.iter().zip(&wanted) {
            let found = inputs.output(Layer { block: &block, ..dense }, part)?;
            loss += found.iter().zip(wanted).map(|(a, b)| f64::from((a - b) * (a - b))).sum::<f64>();
            n += wanted.len();
        }
        let loss = loss / n.max(1) as f64;
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((loss, scales));
        }
    }
    Ok(best.map_or_else(|| vec![1.0; mean.len()], |(_, scales)| scales))
}

fn scales(mean: &[f32], exponent: f32) -> Vec<f32> {
    let mut scales: Vec<f32> = mean.iter().map(|mean| mean.powf(exponent).max(1e-4)).collect();
    let (lo, hi) = extremes(&scales);
    let middle = (hi * lo).sqrt();
    scales.iter_mut().for_each(|scale| *scale /= middle);
    scales
}

#[derive(Clone, Copy)]
struct Rounding {
    grid: Grid,
    /// Columns of a group.
    width: usize,
}

impl Rounding {
    /// Rows times the scales, rounded, and divided by them.
    fn scaled(self, values: &mut [f32], scales: &[f32]) {
        let top = self.grid.top();
        values.par_chunks_mut(scales.len()).for_each(|row| {
            row.iter_mut().zip(scales).for_each(|(w, scale)| *w *= scale);
            row.chunks_mut(self.width).for_each(|group| round(group, top));
            row.iter_mut().zip(scales).for_each(|(w, scale)| *w /= scale);
        });
    }
}

fn round(group: &mut [f32], top: f32) {
    let (lo, hi) = extremes(group);
    let scale = (hi - lo).max(1e-5) / top;
    let zero = (-(lo / scale).round_ties_even()).clamp(0.0, top);
    group.iter_mut().for_each(|w| *w = (((*w / scale).round_ties_even() + zero).clamp(0.0, top) - zero) * scale);
}
