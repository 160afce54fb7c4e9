//! A matrix at a ratio.

use super::{Buffer, Card, Kernel, Matrix, Shape, Values};
use crate::error::Result;

/// The weights with everything below the cut set to zero, for the matrix product. Twin: `kernels::encode::keep`.
pub fn mask(card: &dyn Card, matrix: &Matrix, cut: u32) -> Result<Values> {
    let out = matrix.values.like(card)?;
    let len = matrix.values.len() as u64;
    let (name, ranks) = matrix.masked("mask", cut)?;
    let arguments = [matrix.values.address(), ranks, u64::from(cut), len, out.address()];
    // SAFETY: the kernel's arguments; the output is as long as the matrix.
    unsafe { card.launch(Kernel { file: "mask", name }, Shape::over(len)?, &arguments)? };
    Ok(out)
}

/// Set everything below the cut to zero where it lies: the weights below it are gone. Twin: `kernels::encode::keep`.
pub fn mask_in_place(card: &dyn Card, matrix: &mut Matrix, cut: u32) -> Result<()> {
    let len = matrix.values.len() as u64;
    let (name, ranks) = matrix.masked("mask", cut)?;
    let weights = matrix.values.address();
    // SAFETY: the kernel's arguments; each thread reads a weight before it writes it, and no other does.
    unsafe {
        card.launch(Kernel { file: "mask", name }, Shape::over(len)?, &[weights, ranks, u64::from(cut), len, weights])
    }
}

/// Norm of each row at the cut. Twin: `Sae::decoder_norms`.
pub fn row_norms(card: &dyn Card, matrix: &Matrix, cut: u32) -> Result<Buffer<f32>> {
    let out = Buffer::new(card, matrix.rows)?;
    let (rows, columns) = (matrix.rows as u64, matrix.columns as u64);
    let (name, ranks) = matrix.masked("row_norms", cut)?;
    let arguments = [matrix.values.address(), ranks, u64::from(cut), rows, columns, out.address()];
    // SAFETY: the kernel's arguments; the output has one number a row.
    unsafe { card.launch(Kernel { file: "mask", name }, Shape::warps(rows, 1)?, &arguments)? };
    Ok(out)
}
