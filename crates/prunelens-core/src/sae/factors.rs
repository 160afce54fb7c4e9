//! A matrix in the basis of its own singular vectors, the largest first: cut to a rank it is the same with its last columns
//! left out. The basis is found once; any rank is then exact, whatever the order of nearly equal singular values.

use prunelens_kernels::{
    matmul::{linear, transpose},
    with_f32,
};

use crate::{
    error::{Error, Result},
    linalg,
    progress::Tick,
};

/// `scores = W basis^T`; `W = scores basis`.
#[derive(Debug)]
pub struct Factors {
    /// `[d_sae, d]`: each latent's weights in the basis.
    pub scores: Vec<f32>,
    /// `[d, d]`, a direction a row, the one that carries most of the matrix first.
    basis: Vec<f32>,
    /// The same with a direction a column.
    turned: Vec<f32>,
    width: usize,
}

impl Factors {
    /// The basis of a matrix `[rows, width]`, all that need be kept of it.
    pub fn basis(weight: &candle_core::Tensor, tick: Tick) -> Result<Vec<f32>> {
        let (rows, width) = weight.dims2()?;
        let columns: Vec<f64> = with_f32(weight, |w| transpose(w, rows, width).into_iter().map(f64::from).collect())?;
        tick()?;
        let vectors = linalg::left_vectors(&columns, width, rows, tick)?;
        Ok(vectors.into_iter().map(|v| v as f32).collect())
    }

    /// A matrix in a basis that was found for it.
    pub fn new(weight: &candle_core::Tensor, basis: Vec<f32>) -> Result<Self> {
        let width = weight.dim(1)?;
        if basis.len() != width * width {
            return Err(Error::invalid(format!("a basis of {} numbers for inputs of width {width}", basis.len())));
        }
        let scores = with_f32(weight, |w| linear(w, &basis, None, width, width))?;
        let turned = transpose(&basis, width, width);
        Ok(Self { scores, basis, turned, width })
    }

    /// The basis again.
    pub fn kept(&self) -> &[f32] {
        &self.basis
    }

    /// The full rank.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        4 * (self.scores.len() + self.basis.len() + self.turned.len()) as u64
    }

    /// Inputs `[n, d]` in the basis, without what is beyond the rank.
    pub fn turn(&self, x: &[f32], rank: usize) -> Vec<f32> {
        let mut out = linear(x, &self.basis, None, self.width, self.width);
        out.chunks_mut(self.width).for_each(|row| row.iter_mut().skip(rank).for_each(|v| *v = 0.0));
        out
    }

    /// Outputs `[n, d]` in the basis, back in the matrix's own coordinates.
    pub fn back(&self, out: &[f32], bias: &[f32]) -> Vec<f32> {
        linear(out, &self.turned, Some(bias), self.width, self.width)
    }

    /// A row of the matrix at a rank, from its scores.
    pub fn row(&self, scores: &[f32], rank: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (score, direction) in scores.iter().zip(self.basis.chunks(self.width)).take(rank) {
            out.iter_mut().zip(direction).for_each(|(out, v)| *out += score * v);
        }
    }
}
