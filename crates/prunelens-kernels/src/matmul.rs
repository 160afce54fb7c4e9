//! Matrix products with the bias fused, through the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

/// A strided view of a matrix inside a slice.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `cols` values, `row_stride` apart.
    pub fn rows(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(), "matrix view beyond its data");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// Rows that follow each other.
    pub fn contiguous(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::rows(data, rows, cols, cols)
    }

    /// The transposed matrix, where it is.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `out = alpha * a b + keep * out`, with `out` as rows `out_stride` apart. `threads` 1 stays on this thread.
pub fn multiply(out: &mut [f32], out_stride: usize, a: View, b: View, alpha: f32, keep: bool, threads: usize) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * out_stride + n <= out.len(), "product does not fit");
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    // SAFETY: the views were checked against their slices when made, the output above; strides are those of the views.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            keep,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Up to this many tokens the weights are read where they lie.
const FEW: usize = 256;

/// `x W^T + b` for `x [n, inputs]`, `w [outputs, inputs]`.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize, outputs: usize) -> Vec<f32> {
    let n = x.len() / inputs;
    if n <= FEW {
        return super::panel::linear(x, w, bias, inputs);
    }
    let mut out = vec![0.0; n * outputs];
    if let Some(bias) = bias {
        out.par_chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias));
    }
    let threads = rayon::current_num_threads();
    let (x, w) = (View::contiguous(x, n, inputs), View::contiguous(w, outputs, inputs));
    multiply(&mut out, outputs, x, w.t(), 1.0, bias.is_some(), threads);
    out
}

/// Rows of a matrix as columns: `[rows, cols]` to `[cols, rows]`.
pub fn transpose<T: Copy + Default + Send + Sync>(data: &[T], rows: usize, cols: usize) -> Vec<T> {
    const BLOCK: usize = 32;
    let mut out = vec![T::default(); rows * cols];
    if rows == 0 {
        return out;
    }
    out.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, out)| {
        let first = block * BLOCK;
        for row_block in (0..rows).step_by(BLOCK) {
            for (at, out) in out.chunks_mut(rows).enumerate() {
                for row in row_block..(row_block + BLOCK).min(rows) {
                    out[row] = data[row * cols + first + at];
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_matches_plain_loops() {
        let (n, inputs, outputs) = (5, 7, 3);
        let x: Vec<f32> = (0..n * inputs).map(|i| (i as f32 * 0.7).sin()).collect();
        let w: Vec<f32> = (0..outputs * inputs).map(|i| (i as f32 * 0.3).cos()).collect();
        let b = [0.5, -1.0, 2.0];
        let out = linear(&x, &w, Some(&b), inputs, outputs);
        for row in 0..n {
            for col in 0..outputs {
                let want: f32 = b[col] + (0..inputs).map(|i| x[row * inputs + i] * w[col * inputs + i]).sum::<f32>();
                assert!((out[row * outputs + col] - want).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn transpose_twice_is_the_same() {
        let data: Vec<u32> = (0..70 * 45).collect();
        let once = transpose(&data, 70, 45);
        assert_eq!(once[3 * 70 + 5], data[5 * 45 + 3]);
        assert_eq!(transpose(&once, 45, 70), data);
    }
}
