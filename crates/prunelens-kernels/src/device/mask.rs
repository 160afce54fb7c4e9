//! A matrix at a ratio.

use std::ops::Range;

use super::{Backend, Buffer, Kernel, Mask, Matrix, Shape, Values};
use crate::error::{Error, Result};

/// Some rows with everything below the cut set to zero, for the matrix product. Twin: `kernels::keep`.
pub fn mask(backend: &dyn Backend, matrix: &Matrix, mask: Mask, rows: Range<usize>) -> Result<Values> {
    if rows.end > matrix.rows {
        return Err(Error::invalid(format!("rows {rows:?} of {} were asked for", matrix.rows)));
    }
    let out = matrix.values.like(backend, rows.len() * matrix.columns)?;
    let masked = matrix.masked("mask", mask)?;
    let (start, len) = ((rows.start * matrix.columns) as u64, out.len() as u64);
    if len > 0 {
        let arguments = [matrix.values.address(), masked.ranks, masked.cut, start, len, out.address()];
        // SAFETY: the kernel's arguments; the matrix has these rows.
        unsafe { backend.launch(Kernel { file: "mask", name: masked.name }, Shape::over(len)?, &arguments)? };
    }
    Ok(out)
}

/// Norm of each row at the cut. Twin: `Sae::decoder_norms`.
pub fn row_norms(backend: &dyn Backend, matrix: &Matrix, mask: Mask) -> Result<Buffer<f32>> {
    let out = Buffer::new(backend, matrix.rows)?;
    let (rows, columns) = (matrix.rows as u64, matrix.columns as u64);
    let masked = matrix.masked("row_norms", mask)?;
    let arguments = [matrix.values.address(), masked.ranks, masked.cut, rows, columns, out.address()];
    // SAFETY: the kernel's arguments; the output has one number a row.
    unsafe { backend.launch(Kernel { file: "mask", name: masked.name }, Shape::warps(rows, 1)?, &arguments)? };
    Ok(out)
}
