//! Sums over the rows of a matrix, a number for each column.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::{
    device::{self, Backend, Buffer},
    error::Result,
    with_f32,
};

/// Add the squares of each column of `rows [n, squares.len()]`.
pub fn add_squares(squares: &mut [f64], rows: &[f32]) {
    for row in rows.chunks(squares.len()) {
        squares.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v) * f64::from(*v));
    }
}

/// Sums of the squares of columns over matrix after matrix, kept where these are until they are asked for.
pub struct ColumnSquares(Sums);

enum Sums {
    Here(Vec<f64>),
    OnDevice(Arc<dyn Backend>, Buffer<f64>),
}

impl ColumnSquares {
    /// Of no row yet; where there is no backend, on the CPU.
    pub fn new(backend: Option<&Arc<dyn Backend>>, columns: usize) -> Result<Self> {
        Ok(Self(match backend {
            None => Sums::Here(vec![0.0; columns]),
            Some(backend) => Sums::OnDevice(backend.clone(), Buffer::zeros(&**backend, columns)?),
        }))
    }

    /// Take the rows of `x [n, columns]`.
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        match &mut self.0 {
            Sums::Here(sums) => {
                let mut squares = vec![0.0; sums.len()];
                with_f32(&x.to_dtype(DType::F32)?, |x| add_squares(&mut squares, x))?;
                sums.iter_mut().zip(squares).for_each(|(sum, s)| *sum += s);
                Ok(())
            }
            Sums::OnDevice(backend, sums) => device::add_column_squares(&**backend, x, sums),
        }
    }

    /// The sums; waits for a GPU.
    pub fn to_vec(&self) -> Result<Vec<f64>> {
        match &self.0 {
            Sums::Here(sums) => Ok(sums.clone()),
            Sums::OnDevice(backend, sums) => sums.to_vec(&**backend),
        }
    }
}
/// Mean of each text's tokens, `[texts, width]`, of texts of these lengths that lie end to end, `x [tokens, width]`.
pub fn text_means(x: &[f32], width: usize, lengths: &[usize]) -> Vec<f32> {
    let mut rest = x;
    let mean = |&length: &usize| {
        let (text, after) = rest.split_at(length * width);
        rest = after;
        let mut sum = vec![0.0f64; width];
        for token in text.chunks_exact(width.max(1)) {
            sum.iter_mut().zip(token).for_each(|(s, v)| *s += f64::from(*v));
        }
        sum.into_iter().map(move |s| (s / length as f64) as f32)
    };
    lengths.iter().flat_map(mean).collect()
}
