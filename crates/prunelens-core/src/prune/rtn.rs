//! Rounding to nearest: the min-max rule of compressed-tensors, with whole codes or fp8.

use float8::F8E4M3;
use rayon::prelude::*;

use super::{
    grid::{Grid, extremes},
    matrices::Matrix,
};
use crate::{
    error::Result,
    model::Model,
    progress::{Listener, Progress},
};

/// What weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtn {
    /// Whole codes.
    Int {
        /// Their bits and groups.
        grid: Grid,
        /// Zero is the middle of the codes.
        symmetric: bool,
    },
    /// Floats of 8 bits, a scale a row.
    Fp8,
}

impl Rtn {
    /// The words after `rtn`.
    pub fn parse(words: &[&str]) -> Option<Self> {
        if words == ["fp8"] {
            return Some(Self::Fp8);
        }
        let (grid, rest) = Grid::parse(words)?;
        match rest {
            [] => Some(Self::Int { grid, symmetric: true }),
            ["asym"] => Some(Self::Int { grid, symmetric: false }),
            _ => None,
        }
    }

    /// The same words.
    pub fn spelling(&self) -> String {
        match self {
            Self::Int { grid, symmetric: true } => grid.spelling(),
            Self::Int { grid, symmetric: false } => format!("{}:asym", grid.spelling()),
            Self::Fp8 => "fp8".into(),
        }
    }

    fn round(&self, matrix: &mut Matrix) -> Result<()> {
        let width = match self {
            Self::Int { grid, .. } => grid.width(&matrix.name, matrix.cols)?,
            Self::Fp8 => matrix.cols,
        };
        matrix.values.par_chunks_mut(width).with_min_len(16).for_each(|group| match self {
            Self::Int { grid, symmetric: true } => symmetric(group, grid.bits),
            Self::Int { grid, symmetric: false } => asymmetric(group, grid.bits),
            Self::Fp8 => fp8(group),
        });
        Ok(())
    }
}

impl Model {
    /// All matrices of the blocks, rounded.
    pub fn rtn(&self, rule: Rtn, progress: Listener) -> Result<Self> {
        let mut model = self.clone();
        let total = self.config.n_layers as u64;
        for layer in 0..self.config.n_layers {
            progress(Progress { what: "rounding the model (rtn)".into(), done: layer as u64, total, unit: "layers" })?;
            model.change_block(layer, |matrix| rule.round(matrix))?;
        }
        Ok(model)
    }
}

fn symmetric(group: &mut [f32], bits: u32) {
    let (lo, hi) = extremes(group);
    let (low, high) = (-((1_i32 << (bits - 1)) as f32), ((1_i32 << (bits - 1)) - 1) as f32);
    let scale = ((-lo.min(0.0)).max(hi.max(0.0)) / ((high - low) / 2.0)).max(f32::EPSILON);
    group.iter_mut().for_each(|w| *w = (*w / scale).clamp(low, high).round_ties_even() * scale);
}

fn asymmetric(group: &mut [f32], bits: u32) {
    let (lo, hi) = extremes(group);
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let (low, high) = (-((1_i32 << (bits - 1)) as f32), ((1_i32 << (bits - 1)) - 1) as f32);
    let scale = ((hi - lo) / (high - low)).max(f32::EPSILON);
    let zero = (low - lo / scale).clamp(low, high).round_ties_even();
    group.iter_mut().for_each(|w| *w = ((*w / scale + zero).clamp(low, high).round_ties_even() - zero) * scale);
}

fn fp8(row: &mut [f32]) {
    const LARGEST: f32 = 448.0;
    let (lo, hi) = extremes(row);
    let scale = ((-lo).max(hi) / LARGEST).max(f32::EPSILON);
    row.iter_mut().for_each(|w| *w = F8E4M3::from_f32((*w / scale).clamp(-LARGEST, LARGEST)).to_f32() * scale);
}
