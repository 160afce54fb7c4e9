//! Rounding to nearest: the min-max rule of compressed-tensors, with whole codes or fp8.

use float8::F8E4M3;
use rayon::prelude::*;

use super::{
    codes::{Codes, Number, Scales},
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

    fn round(&self, matrix: &mut Matrix) -> Result<Scales> {
        let (group, number) = match self {
            Self::Int { grid, .. } => (grid.group, Number::Int(grid.bits)),
            Self::Fp8 => (None, Number::Fp8),
        };
        let width = match self {
            Self::Int { grid, .. } => grid.width(&matrix.name, matrix.cols)?,
            Self::Fp8 => matrix.cols,
        };
        let round = |group: &mut [f32]| match self {
            Self::Int { grid, symmetric: true } => (symmetric(group, grid.bits), 0.0),
            Self::Int { grid, symmetric: false } => asymmetric(group, grid.bits),
            Self::Fp8 => (fp8(group), 0.0),
        };
        let (scales, points): (Vec<f32>, Vec<f32>) =
            matrix.values.par_chunks_mut(width).with_min_len(16).map(round).unzip();
        let has_zeros = matches!(self, Self::Int { symmetric: false, .. });
        let zeros = has_zeros.then(|| points.iter().map(|zero| *zero as i8).collect());
        Ok(Scales { number, group, scales, zeros, groups: None })
    }
}

impl Model {
    /// All matrices of the blocks, rounded.
    pub fn rtn(&self, rule: Rtn, mut codes: Option<&mut Codes>, progress: Listener) -> Result<Self> {
        let mut model = self.clone();
        let total = self.config.n_layers as u64;
        for layer in 0..self.config.n_layers {
            progress(Progress { what: "rounding the model (rtn)".into(), done: layer as u64, total, unit: "layers" })?;
            model.change_block(layer, |matrix| {
                let scales = rule.round(matrix)?;
                if let Some(codes) = codes.as_deref_mut() {
                    codes.insert(matrix.name.clone(), scales.codes(matrix));
                }
                Ok(())
            })?;
        }
        Ok(model)
    }
}

/// Rounds a group; its scale.
fn symmetric(group: &mut [f32], bits: u32) -> f32 {
    let (lo, hi) = extremes(group);
    let (low, high) = (-((1_i32 << (bits - 1)) as f32), ((1_i32 << (bits - 1)) - 1) as f32);
    let scale = ((-lo.min(0.0)).max(hi.max(0.0)) / ((high - low) / 2.0)).max(f32::EPSILON);
    group.iter_mut().for_each(|w| *w = (*w / scale).clamp(low, high).round_ties_even() * scale);
    scale
}

/// Rounds a group; its scale, and the code of 0.
fn asymmetric(group: &mut [f32], bits: u32) -> (f32, f32) {
    let (lo, hi) = extremes(group);
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let (low, high) = (-((1_i32 << (bits - 1)) as f32), ((1_i32 << (bits - 1)) - 1) as f32);
    let scale = ((hi - lo) / (high - low)).max(f32::EPSILON);
    let zero = (low - lo / scale).clamp(low, high).round_ties_even();
    group.iter_mut().for_each(|w| *w = ((*w / scale + zero).clamp(low, high).round_ties_even() - zero) * scale);
    (scale, zero)
}

/// Rounds a row; its scale.
fn fp8(row: &mut [f32]) -> f32 {
    const LARGEST: f32 = 448.0;
    let (lo, hi) = extremes(row);
    let scale = ((-lo).max(hi) / LARGEST).max(f32::EPSILON);
    row.iter_mut().for_each(|w| *w = F8E4M3::from_f32((*w / scale).clamp(-LARGEST, LARGEST)).to_f32() * scale);
    scale
}
