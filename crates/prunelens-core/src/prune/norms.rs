//! Norms of activations over calibration text: what weights are multiplied with, or what they produce.

use prunelens_kernels::columns::add_squares;

/// Column norms of inputs as Wanda takes them: the root of the mean over sequences of the sum over positions of squares.
#[derive(Clone, Debug)]
pub struct InputNorm {
    squares: Vec<f64>,
    sequences: usize,
}

impl InputNorm {
    /// Of no sequence yet.
    pub fn new(width: usize) -> Self {
        Self { squares: vec![0.0; width], sequences: 0 }
    }

    /// Of sums of squares of each column over all positions of `sequences` sequences.
    pub fn of(squares: Vec<f64>, sequences: usize) -> Self {
        Self { squares, sequences }
    }

    /// Rows of all positions of `sequences` sequences.
    pub fn add(&mut self, rows: &[f32], sequences: usize) {
        add_squares(&mut self.squares, rows);
        self.sequences += sequences;
    }

    /// One latent on one token.
    pub fn add_one(&mut self, column: usize, value: f32) {
        self.squares[column] += f64::from(value) * f64::from(value);
    }

    /// Sequences whose values came through [`Self::add_one`].
    pub fn add_sequences(&mut self, sequences: usize) {
        self.sequences += sequences;
    }

    /// The norms, a number a column.
    pub fn value(&self) -> Vec<f32> {
        let n = self.sequences.max(1) as f64;
        self.squares.iter().map(|s| (s / n).sqrt() as f32).collect()
    }
}

/// Column norms of outputs as the released code of arXiv 2507.15977 takes them: the mean over batches of each batch's norm.
#[derive(Clone, Debug)]
pub struct OutputNorm {
    sum: Vec<f64>,
    batches: usize,
}

impl OutputNorm {
    /// Of no batch yet.
    pub fn new(width: usize) -> Self {
        Self { sum: vec![0.0; width], batches: 0 }
    }

    /// Sums of squares of each column over all positions of one batch.
    pub fn add(&mut self, squares: &[f64]) {
        self.sum.iter_mut().zip(squares).for_each(|(s, v)| *s += v.sqrt());
        self.batches += 1;
    }

    /// The norms, a number a column.
    pub fn value(&self) -> Vec<f32> {
        let n = self.batches.max(1) as f64;
        self.sum.iter().map(|s| (s / n) as f32).collect()
    }
}
