//! Dense and vector arithmetic of the training step on plain f32 buffers.

/// A row-major matrix, or its transpose, as an operand of [`matmul`].
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Operand<'a> {
    /// `data` as `rows` rows of equal length.
    pub fn new(data: &'a [f32], rows: usize) -> Self {
        let columns = data.len().checked_div(rows).unwrap_or(0);
        assert_eq!(data.len(), rows * columns, "rows of unequal length");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, or `out += a b` if `accumulate`; `out` is row-major. Uses all threads of the current rayon pool.
///
/// The result does not depend on timing: each element is summed by one thread in a fixed order.
pub fn matmul(out: &mut [f32], a: Operand, b: Operand, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "inner dimensions differ");
    assert_eq!(out.len(), a.rows * b.columns, "wrong size of the result");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    // SAFETY: the assertions above and in `Operand::new` keep every element that the strides reach inside the slices,
    // and `out` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// Run `work` compiled for the widest vectors this CPU has. What it calls must be `#[inline(always)]` to profit.
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

const LANES: usize = 32;

/// Dot product, summed in [`LANES`] fixed partial sums.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `y += scale x`.
#[inline(always)]
pub fn axpy(y: &mut [f32], scale: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::Rng;

    fn random(rng: &mut Rng, n: usize) -> Vec<f32> {
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    #[test]
    fn products_agree_with_plain_loops() {
        let mut rng = Rng::new(1, 0);
        let (m, n, k) = (5, 7, 19);
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let mut out = vec![1.0; m * n];
        matmul(&mut out, Operand::new(&a, m), Operand::new(&b, n).transposed(), true);
        for i in 0..m {
            for j in 0..n {
                let expected = 1.0 + (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f32>();
                assert!((out[i * n + j] - expected).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn dot_covers_the_rest_after_whole_lanes() {
        let mut rng = Rng::new(2, 0);
        for n in [0, 1, 31, 32, 33, 100] {
            let (a, b) = (random(&mut rng, n), random(&mut rng, n));
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
            assert!((f64::from(vectorized(|| dot(&a, &b))) - expected).abs() < 1e-4);
        }
    }
}
