//! GPTQ (arXiv 2210.17323) and SparseGPT (arXiv 2301.00774): columns are rounded or pruned from left to right, and each error is
//! made up for by the columns that are left, by the second moments of the inputs. Blocks of 128 columns, later blocks lazily.

use prunelens_kernels::Sparsity;
use rayon::prelude::*;

use super::{
    calibrate::{Before, InputMoments, Work},
    codes::{Codes, Number, Scales},
    grid::{Grid, extremes},
    matrices::Matrix,
};
use crate::{error::Result, linalg::inverse_factor, model::Model, progress::Listener};

/// Columns whose errors reach later ones together.
const BLOCK: usize = 128;
/// Of the mean of the diagonal, added to it.
const DAMPING: f64 = 0.01;

/// Inverse second moments as an upper factor, and which inputs are never on.
struct Factor {
    upper: Vec<f32>,
    n: usize,
    dead: Vec<usize>,
}

impl Factor {
    /// By the inputs in some order.
    fn new(second: &[f64], order: &[usize]) -> Result<Self> {
        let n = order.len();
        let mut h: Vec<f64> = order.iter().flat_map(|row| order.iter().map(move |col| second[row * n + col])).collect();
        let dead: Vec<usize> = (0..n).filter(|i| h[i * n + i] == 0.0).collect();
        dead.iter().for_each(|i| h[i * n + i] = 1.0);
        let damping = DAMPING * (0..n).map(|i| h[i * n + i]).sum::<f64>() / n as f64;
        (0..n).for_each(|i| h[i * n + i] += damping);
        let upper = inverse_factor(&h, n)?.into_iter().map(|v| v as f32).collect();
        Ok(Self { upper, n, dead })
    }

    /// A row from its diagonal on, up to a column.
    fn row(&self, i: usize, end: usize) -> &[f32] {
        &self.upper[i * self.n + i..i * self.n + end]
    }

    /// Weights of inputs that are never on are 0.
    fn clear(&self, values: &mut [f32]) {
        values.par_chunks_mut(self.n).for_each(|row| self.dead.iter().for_each(|i| row[*i] = 0.0));
    }

    /// Take the errors of a block's columns off all later ones of a row.
    fn make_up(&self, row: &mut [f32], errors: &[f32], start: usize) {
        let end = start + errors.len();
        for (at, error) in errors.iter().enumerate().filter(|(_, error)| **error != 0.0) {
            let factors = &self.upper[(start + at) * self.n..][end..self.n];
            row[end..].iter_mut().zip(factors).for_each(|(w, u)| *w -= error * u);
        }
    }
}

/// How GPTQ rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gptq {
    /// Codes and groups.
    pub grid: Grid,
    /// Columns with the largest inputs first.
    pub ordered: bool,
}

impl Model {
    /// GPTQ, symmetric: scales by the group, from the matrix as it stood when the group's block began.
    pub fn gptq(
        &self,
        batches: &[Vec<Vec<u32>>],
        rule: Gptq,
        mut codes: Option<&mut Codes>,
        progress: Listener,
    ) -> Result<Self> {
        let work = Work { what: "rounding the model (gptq)", before: Before::Compressed, second: true };
        self.calibrated(batches, work, progress, |model, layer, seen, _| {
            let factors = Factors::new(seen, rule.ordered)?;
            model.change_block(layer, |matrix| {
                let (order, factor) = factors.of(matrix);
                let scales = gptq(matrix, order, factor, rule);
                if let Some(codes) = codes.as_deref_mut() {
                    codes.insert(matrix.name.clone(), scales.codes(matrix));
                }
                Ok(())
            })
        })
    }

    /// SparseGPT: the least important of each block of 128 columns of a matrix, or n of every m of each row.
    pub fn sparsegpt(&self, batches: &[Vec<Vec<u32>>], sparsity: Sparsity, progress: Listener) -> Result<Self> {
        let work = Work { what: "pruning the model (sparsegpt)", before: Before::Compressed, second: true };
        self.calibrated(batches, work, progress, |model, layer, seen, _| {
            let factors = Factors::new(seen, false)?;
            model.change_block(layer, |matrix| {
                sparsegpt(matrix, factors.of(matrix).1, sparsity);
                Ok(())
            })
        })
    }
}

/// Of each part: the order of its columns, and its factor.
struct Factors(Vec<(Vec<usize>, Factor)>);

impl Factors {
    fn new(seen: &[InputMoments], ordered: bool) -> Result<Self> {
        let of = |seen: &InputMoments| {
            let n = seen.second.len().isqrt();
            let mut order: Vec<usize> = (0..n).collect();
            if ordered {
                let on = |i: &usize| seen.second[i * n + i];
                order.sort_by(|a, b| on(b).total_cmp(&on(a)));
            }
            let factor = Factor::new(&seen.second, &order)?;
            Ok((order, factor))
        };
        seen.iter().map(of).collect::<Result<_>>().map(Self)
    }

    fn of(&self, matrix: &Matrix) -> (&[usize], &Factor) {
        let (order, factor) = &self.0[matrix.part as usize];
        (order, factor)
    }
}

fn gptq(matrix: &mut Matrix, order: &[usize], factor: &Factor, Gptq { grid, ordered }: Gptq) -> Scales {
    let cols = matrix.cols;
    let width = grid.group.unwrap_or(cols);
    let (top, middle) = (grid.top(), (grid.top() + 1.0) / 2.0);
    let mut scales = vec![1.0; matrix.rows * cols.div_ceil(width)];
    let rows = matrix.values.par_chunks_mut(cols).zip(scales.par_chunks_mut(cols.div_ceil(width)));
    rows.for_each(|(stored, scales)| {
        let mut row: Vec<f32> = order.iter().map(|col| stored[*col]).collect();
        factor.dead.iter().for_each(|i| row[*i] = 0.0);
        let mut scale = 1.0;
        for start in (0..cols).step_by(BLOCK) {
            let end = (start + BLOCK).min(cols);
            // The row itself stays as it stood when the block began; groups take their scales from it.
            let mut own = row[start..end].to_vec();
            let mut errors = vec![0.0; end - start];
            for at in 0..own.len() {
                let col = start + at;
                if col % width == 0 {
                    scale = step(&row[col..(col + width).min(cols)], top);
                    scales[col / width] = scale;
                }
                let code = ((own[at] / scale).round_ties_even() + middle).clamp(0.0, top);
                let rounded = scale * (code - middle);
                let error = (own[at] - rounded) / factor.row(col, end)[0];
                own[at..].iter_mut().zip(factor.row(col, end)).for_each(|(w, u)| *w -= error * u);
                errors[at] = error;
                stored[order[col]] = rounded;
            }
            factor.make_up(&mut row, &errors, start);
        }
    });
    // In the order of the columns as they lie; whole rows are one group in any order.
    let groups = (ordered && grid.group.is_some()).then(|| {
        let mut groups = vec![0; cols];
        order.iter().enumerate().for_each(|(at, col)| groups[*col] = (at / width) as u32);
        groups
    });
    Scales { number: Number::Int(grid.bits), group: grid.group, scales, zeros: None, groups }
}

/// The step between codes of a symmetric group.
fn step(group: &[f32], top: f32) -> f32 {
    let (lo, hi) = extremes(group);
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let largest = hi.max(-lo);
    match (largest == 0.0, lo < 0.0) {
        (true, _) => 2.0 / top,
        (_, true) => (largest + largest) / top,
        _ => largest / top,
    }
}

fn sparsegpt(matrix: &mut Matrix, factor: &Factor, sparsity: Sparsity) {
    let cols = matrix.cols;
    factor.clear(&mut matrix.values);
    let score = |w: f32, col: usize| {
        let diagonal = factor.upper[col * factor.n + col];
        w * w / (diagonal * diagonal)
    };
    for start in (0..cols).step_by(BLOCK) {
        let end = (start + BLOCK).min(cols);
        let limit = match sparsity {
            Sparsity::Ratio(ratio) => {
                let of = |row: &[f32]| (start..end).map(|col| score(row[col], col)).collect::<Vec<_>>();
                let mut scores: Vec<f32> = matrix.values.par_chunks(cols).flat_map_iter(of).collect();
                let place = ((scores.len() as f64 * ratio) as usize).min(scores.len() - 1);
                *scores.select_nth_unstable_by(place, f32::total_cmp).1
            }
            Sparsity::NM(..) => 0.0,
        };
        matrix.values.par_chunks_mut(cols).for_each(|row| {
            let mut errors = vec![0.0; end - start];
            let mut pruned: Vec<bool> = match sparsity {
                Sparsity::Ratio(_) => (start..end).map(|col| score(row[col], col) <= limit).collect(),
                Sparsity::NM(..) => vec![false; end - start],
            };
            for at in 0..end - start {
                let col = start + at;
                if let Sparsity::NM(n, m) = sparsity
                    && at % m == 0
                {
                    let mut next: Vec<usize> = (col..(col + m).min(end)).collect();
                    next.sort_by(|a, b| score(row[*a], *a).total_cmp(&score(row[*b], *b)));
                    next.iter().take(n).for_each(|col| pruned[col - start] = true);
                }
                if pruned[at] {
                    let factors = factor.row(col, end);
                    let error = row[col] / factors[0];
                    row[col..end].iter_mut().zip(factors).for_each(|(w, u)| *w -= error * u);
                    row[col] = 0.0;
                    errors[at] = error;
                }
            }
            factor.make_up(row, &errors, start);
        });
    }
}
