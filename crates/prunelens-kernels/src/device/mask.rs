//! A matrix at a ratio, as it is or in parts.

use std::ops::Range;

use half::bf16;

use super::{Backend, Buffer, Kernel, Mask, Matrix, Shape, Values, launch_of};
use crate::error::{Error, Result};

/// Some rows with everything below the cut set to zero, for the matrix product. Twin: `kernels::keep`.
pub fn mask(backend: &dyn Backend, matrix: &Matrix, mask: Mask, rows: Range<usize>) -> Result<Values> {
    if rows.end > matrix.rows {
        return Err(Error::invalid(format!("rows {rows:?} of {} were asked for", matrix.rows)));
    }
    let out = matrix.values.like(backend, rows.len() * matrix.columns)?;
    let masked = matrix.masked(mask)?;
    let (start, len) = ((rows.start * matrix.columns) as u64, out.len() as u64);
    if len > 0 {
        let arguments = [matrix.values.address(), masked.ranks, masked.cut, start, len, out.address()];
        // The matrix has these rows.
        launch_of(backend, Kernel { file: "mask", name: "mask", of: masked.of }, Shape::over(len)?, &arguments)?;
    }
    Ok(out)
}

/// Which parts of an activation and of a weight meet where both are sums of three in bfloat16, by their places from the largest on:
/// the least products first, without those that f32 has no room for beside the others.
pub(super) const PAIRS: [(usize, usize); 6] = [(2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)];

/// As [`mask()`], with each weight as the second parts of [`PAIRS`], `[rows, 6 * columns]`.
pub(super) fn mask_in_parts(
    backend: &dyn Backend,
    matrix: &Matrix,
    mask: Mask,
    rows: Range<usize>,
) -> Result<Buffer<bf16>> {
    if rows.end > matrix.rows {
        return Err(Error::invalid(format!("rows {rows:?} of {} were asked for", matrix.rows)));
    }
    let len = rows.len() * matrix.columns;
    let out = Buffer::new(backend, PAIRS.len() * len)?;
    let masked = matrix.masked(mask)?;
    if len > 0 {
        let (start, columns) = ((rows.start * matrix.columns) as u64, matrix.columns as u64);
        let arguments =
            [matrix.values.address(), masked.ranks, masked.cut, start, rows.len() as u64, columns, out.address()];
        // SAFETY: the kernel's arguments; the matrix has these rows.
        unsafe {
            backend.launch(
                Kernel { file: "mask", name: "mask_in_parts", of: masked.of },
                Shape::over(len as u64)?,
                &arguments,
            )?
        };
    }
    Ok(out)
}

/// Norm of each row at each of some cuts, `[masks, rows]`. Twin: `Sae::decoder_norms`.
pub fn row_norms(backend: &dyn Backend, matrix: &Matrix, masks: &[Mask]) -> Result<Buffer<f32>> {
    let out = Buffer::<f32>::new(backend, masks.len() * matrix.rows)?;
    let (rows, columns) = (matrix.rows as u64, matrix.columns as u64);
    for (at, mask) in masks.iter().enumerate() {
        let masked = matrix.masked(*mask)?;
        let to = out.address() + (at * matrix.rows * size_of::<f32>()) as u64;
        let arguments = [matrix.values.address(), masked.ranks, masked.cut, rows, columns, to];
        // SAFETY: the kernel's arguments; the output has one number a row and mask.
        unsafe {
            backend.launch(
                Kernel { file: "mask", name: "row_norms", of: masked.of },
                Shape::warps(rows, 1)?,
                &arguments,
            )?
        };
    }
    Ok(out)
}
