//! Largest cosine of every vector with another one, block by block: no `[d_sae, d_sae]` table is ever in memory.

use candle_core::{Device, Tensor};
use prunelens_core::error::Result;
use prunelens_kernels::with_f32;
use rayon::prelude::*;

/// Rows and columns of one block. A block is a few milliseconds of work, the longest the caller waits.
const ROWS: usize = 512;
const COLUMNS: usize = 2048;

/// The search, resumable after every block. The table is symmetric: a block gives the maxima of its rows and of its
/// columns, and the half below the diagonal is left out.
pub struct MaxCosine {
    /// Rows of norm 1; a zero row stays zero, and its cosines are 0.
    unit: Tensor,
    best: Vec<f32>,
    blocks: Vec<(usize, usize)>,
    next: usize,
}

impl MaxCosine {
    /// `vectors` is `[count, width]`; their products are taken on a device.
    pub fn new(vectors: &Tensor, device: &Device) -> Result<Self> {
        let (count, width) = vectors.dims2()?;
        let mut unit = with_f32(vectors, <[f32]>::to_vec)?;
        unit.par_chunks_exact_mut(width).for_each(|row| {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= norm);
        });
        let blocks = (0..count)
            .step_by(ROWS)
            .flat_map(|row| (row..count).step_by(COLUMNS).map(move |column| (row, column)))
            .collect();
        Ok(Self {
            unit: Tensor::from_vec(unit, (count, width), device)?,
            best: vec![f32::NEG_INFINITY; count],
            blocks,
            next: 0,
        })
    }

    /// Do one block; false when there was none left.
    pub fn step(&mut self) -> Result<bool> {
        let Some(&(row, column)) = self.blocks.get(self.next) else { return Ok(false) };
        let count = self.best.len();
        let (rows, columns) = (ROWS.min(count - row), COLUMNS.min(count - column));
        let block = self.unit.narrow(0, row, rows)?.matmul(&self.unit.narrow(0, column, columns)?.t()?)?;
        let block: Vec<f32> = block.flatten_all()?.to_vec1()?;
        self.take(row, column, columns, &block);
        self.next += 1;
        Ok(true)
    }

    /// Blocks done and blocks in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.next, self.blocks.len())
    }

    /// One value a vector: NaN where there is no other vector.
    pub fn values(&self) -> Vec<f64> {
        self.best.iter().map(|&v| if v == f32::NEG_INFINITY { f64::NAN } else { v.into() }).collect()
    }

    fn take(&mut self, row: usize, column: usize, columns: usize, block: &[f32]) {
        let not_itself = |at: usize, c: usize, v: f32| if row + at == column + c { f32::NEG_INFINITY } else { v };
        let in_rows: Vec<f32> = block
            .par_chunks_exact(columns)
            .enumerate()
            .map(|(at, values)| {
                values.iter().enumerate().map(|(c, &v)| not_itself(at, c, v)).fold(f32::NEG_INFINITY, f32::max)
            })
            .collect();
        let in_columns = block
            .par_chunks_exact(columns)
            .enumerate()
            .fold(
                || vec![f32::NEG_INFINITY; columns],
                |mut best, (at, values)| {
                    best.iter_mut().zip(values).enumerate().for_each(|(c, (b, &v))| *b = b.max(not_itself(at, c, v)));
                    best
                },
            )
            .reduce(|| vec![f32::NEG_INFINITY; columns], |a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect());
        let mut raise = |at: usize, v: f32| self.best[at] = self.best[at].max(v);
        in_rows.iter().enumerate().for_each(|(at, &v)| raise(row + at, v));
        in_columns.iter().enumerate().for_each(|(c, &v)| raise(column + c, v));
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn run(values: &[f32], count: usize, width: usize) -> Vec<f64> {
        let vectors = Tensor::from_slice(values, (count, width), &Device::Cpu).unwrap();
        let mut search = MaxCosine::new(&vectors, &Device::Cpu).unwrap();
        while search.step().unwrap() {}
        assert_eq!(search.progress().0, search.progress().1);
        search.values()
    }

    #[test]
    fn agrees_with_a_plain_table_over_several_blocks() {
        let (count, width) = (2600, 3);
        let mut rng = StdRng::seed_from_u64(1);
        let mut values: Vec<f32> = (0..count * width).map(|_| rng.random_range(-1.0..1.0)).collect();
        values[7 * width..8 * width].fill(0.0);
        let found = run(&values, count, width);
        let row = |i: usize| &values[i * width..(i + 1) * width];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for i in (0..count).step_by(37).chain([7, 511, 512, 2047, 2048, 2599]) {
            let norm = |i: usize| dot(row(i), row(i)).sqrt().max(1e-12);
            let cosines = (0..count).filter(|&j| j != i).map(|j| dot(row(i), row(j)) / norm(i) / norm(j));
            let expected = cosines.fold(f64::NEG_INFINITY, f64::max);
            assert!((found[i] - expected).abs() < 1e-6, "{i}: {} is not {expected}", found[i]);
        }
        assert_eq!(found[7], 0.0);
    }

    #[test]
    fn one_vector_has_no_other() {
        assert!(run(&[1.0, 2.0], 1, 2)[0].is_nan());
        assert_eq!(run(&[1.0, 0.0, 0.0, 1.0], 2, 2), [0.0, 0.0]);
    }
}
