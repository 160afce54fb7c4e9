//! Factors of square matrices in f64, row by row, and the best approximation of a matrix at a rank.

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    progress::Tick,
};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums side by side: the compiler keeps them in vector registers.
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// The lower factor `L` of `A = L L^T`, `n` rows; what was above the diagonal becomes 0.
pub fn cholesky(mut a: Vec<f64>, n: usize) -> Result<Vec<f64>> {
    for j in 0..n {
        let (before, after) = a.split_at_mut((j + 1) * n);
        let row = &mut before[j * n..];
        let pivot = row[j] - dot(&row[..j], &row[..j]);
        if pivot.is_nan() || pivot <= 0.0 {
            return Err(Error::invalid(if pivot.is_nan() {
                format!("the inputs' second moments are no numbers at input {j} of {n}: load the model in f32 or bf16")
            } else {
                format!("the inputs' second moments are not positive at input {j} of {n}: give more calibration rows")
            }));
        }
        let pivot = pivot.sqrt();
        row[j] = pivot;
        row[j + 1..].fill(0.0);
        let row = &*row;
        let each = after.par_chunks_mut(n).with_min_len(32);
        each.for_each(|own| own[j] = (own[j] - dot(&own[..j], &row[..j])) / pivot);
    }
    Ok(a)
}

/// The upper factor `U` of the inverse: `A^-1 = U^T U`.
pub fn inverse_factor(a: &[f64], n: usize) -> Result<Vec<f64>> {
    // From the other end, A = R R^T with R upper, and U is the inverse of R.
    let turned: Vec<f64> = a.iter().rev().copied().collect();
    let lower = cholesky(turned, n)?;
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        let (done, rest) = inverse.split_at_mut(i * n);
        let (row, pivot) = (&mut rest[..n], lower[i * n + i]);
        for (k, factor) in lower[i * n..][..i].iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
            row[..=k].iter_mut().zip(&done[k * n..][..=k]).for_each(|(out, v)| *out -= factor * v);
        }
        row[i] = 1.0;
        row[..=i].iter_mut().for_each(|v| *v /= pivot);
    }
    inverse.reverse();
    Ok(inverse)
}

/// `X` of `X L = A` for each row of A, with L lower.
pub fn solve_right(a: &mut [f64], lower: &[f64], n: usize) {
    a.par_chunks_mut(n).for_each(|row| {
        for j in (0..n).rev() {
            let x = row[j] / lower[j * n + j];
            row[j] = x;
            row[..j].iter_mut().zip(&lower[j * n..][..j]).for_each(|(a, l)| *a -= x * l);
        }
    });
}

/// `A B` with rows one after another.
pub fn product(a: &[f64], b: &[f64], inner: usize, cols: usize) -> Vec<f64> {
    let mut out = vec![0.0; a.len() / inner.max(1) * cols];
    out.par_chunks_mut(cols.max(1)).zip(a.par_chunks(inner.max(1))).for_each(|(out, a)| {
        for (factor, row) in a.iter().zip(b.chunks(cols.max(1))) {
            out.iter_mut().zip(row).for_each(|(out, v)| *out += factor * v);
        }
    });
    out
}

pub fn transposed(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    prunelens_kernels::matmul::transpose(a, rows, cols)
}

/// The best approximation of `[rows, cols]` at a rank, by the sum of squared errors.
pub fn cut(a: &[f64], rows: usize, cols: usize, rank: usize) -> Vec<f64> {
    if rows > cols {
        return transposed(&cut(&transposed(a, rows, cols), cols, rows, rank), cols, rows);
    }
    if rank >= rows {
        return a.to_vec();
    }
    // Its projection on its first left singular vectors.
    let found = left_vectors(a, rows, cols, &mut || Ok(()));
    // Nobody stops it.
    let Ok(vectors) = found else { return a.to_vec() };
    let first = &vectors[..rank * rows];
    let shares = product(first, a, rows, cols);
    product(&transposed(first, rank, rows), &shares, rank, cols)
}

/// Left singular vectors of a matrix with no more rows than columns, a row each, the largest singular value first.
pub fn left_vectors(a: &[f64], n: usize, cols: usize, tick: Tick) -> Result<Vec<f64>> {
    let unit =
        |(size, column): (f64, Vec<f64>)| column.into_iter().map(move |v| if size > 0.0 { v / size } else { 0.0 });
    Ok(scaled_left_vectors(a, n, cols, tick)?.into_iter().flat_map(unit).collect())
}

/// Singular values of any matrix, the largest first: as many as the smaller side has.
pub fn singular_values(a: &[f64], rows: usize, cols: usize, tick: Tick) -> Result<Vec<f64>> {
    let found = match rows <= cols {
        true => scaled_left_vectors(a, rows, cols, tick)?,
        false => scaled_left_vectors(&transposed(a, rows, cols), cols, rows, tick)?,
    };
    Ok(found.into_iter().map(|(value, _)| value).collect())
}

/// Singular values with the left vectors times them, the largest first: one-sided Jacobi rotations of a Cholesky factor of
/// `A A^T` (Drmač and Veselić, 2008).
fn scaled_left_vectors(a: &[f64], n: usize, cols: usize, tick: Tick) -> Result<Vec<(f64, Vec<f64>)>> {
    let mut gram = vec![0.0; n * n];
    gram.par_chunks_mut(n).enumerate().for_each(|(i, out)| {
        for (out, other) in out.iter_mut().zip(a.chunks(cols)).take(i + 1) {
            *out = dot(&a[i * cols..][..cols], other);
        }
    });
    for i in 0..n {
        for j in 0..i {
            gram[j * n + i] = gram[i * n + j];
        }
    }
    tick()?;
    let lower = semidefinite(gram, n);
    // Columns of the factor as rows; a row of zeros makes their number even.
    let mut columns: Vec<Vec<f64>> = transposed(&lower, n, n).chunks(n).map(<[f64]>::to_vec).collect();
    if n % 2 == 1 {
        columns.push(vec![0.0; n]);
    }
    for _ in 0..SWEEPS {
        tick()?;
        let mut largest = 0.0_f64;
        for _ in 1..columns.len() {
            let pairs = columns.par_chunks_mut(2).with_min_len(4).map(|pair| {
                let [x, y] = pair else { return 0.0 };
                rotate(x, y)
            });
            largest = largest.max(pairs.reduce(|| 0.0, f64::max));
            turn(&mut columns);
        }
        if largest < 1e-13 {
            break;
        }
    }
    let mut sized: Vec<(f64, Vec<f64>)> =
        columns.into_iter().map(|column| (dot(&column, &column).sqrt(), column)).collect();
    sized.sort_by(|x, y| y.0.total_cmp(&x.0));
    sized.truncate(n);
    Ok(sized)
}

/// No matrix needed so many.
const SWEEPS: usize = 40;

/// Make two columns orthogonal; gives the cosine that they had.
fn rotate(x: &mut [f64], y: &mut [f64]) -> f64 {
    let (xx, yy, xy) = (dot(x, x), dot(y, y), dot(x, y));
    let size = (xx * yy).sqrt();
    if size == 0.0 || xy.abs() <= 1e-15 * size {
        return 0.0;
    }
    let zeta = (yy - xx) / (2.0 * xy);
    let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = cosine * tangent;
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
    xy.abs() / size
}

/// The next round of a tournament in which each meets each: the first stays, all others move on by one seat.
fn turn(columns: &mut [Vec<f64>]) {
    // Seats of the two sides stand side by side: 0 1 | 2 3 | 4 5 ...
    let n = columns.len();
    let mut order: Vec<usize> = (0..n).collect();
    let ring: Vec<usize> = (0..n / 2).map(|i| 2 * i).chain((0..n / 2).rev().map(|i| 2 * i + 1)).skip(1).collect();
    for (at, seat) in ring.iter().enumerate() {
        order[ring[(at + 1) % ring.len()]] = *seat;
    }
    let mut taken: Vec<Vec<f64>> = columns.iter_mut().map(std::mem::take).collect();
    for (seat, from) in order.into_iter().enumerate() {
        columns[seat] = std::mem::take(&mut taken[from]);
    }
}

/// A Cholesky factor that takes a pivot below rounding for 0.
fn semidefinite(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let least = (0..n).map(|i| a[i * n + i]).fold(0.0, f64::max) * 1e-15;
    for j in 0..n {
        let (before, after) = a.split_at_mut((j + 1) * n);
        let row = &mut before[j * n..];
        let pivot = row[j] - dot(&row[..j], &row[..j]);
        let pivot = if pivot > least { pivot.sqrt() } else { 0.0 };
        row[j] = pivot;
        row[j + 1..].fill(0.0);
        let row = &*row;
        let value = |own: &[f64]| if pivot > 0.0 { (own[j] - dot(&own[..j], &row[..j])) / pivot } else { 0.0 };
        after.par_chunks_mut(n).with_min_len(32).for_each(|own| own[j] = value(own));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(n: usize) -> Vec<f64> {
        let mut rng = Rng::new(5, 0);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{a} {b}"));
    }

    #[test]
    fn factors_multiply_to_what_they_are_factors_of() {
        let (n, x) = (7, random(7 * 9));
        let a = product(&x, &transposed(&x, n, 9), 9, n);
        let lower = cholesky(a.clone(), n).unwrap();
        close(&product(&lower, &transposed(&lower, n, n), n, n), &a);
        let upper = inverse_factor(&a, n).unwrap();
        let inverse = product(&transposed(&upper, n, n), &upper, n, n);
        let one: Vec<f64> = (0..n * n).map(|at| f64::from(at % (n + 1) == 0)).collect();
        close(&product(&inverse, &a, n, n), &one);
        let mut solved = x[..3 * n].to_vec();
        solve_right(&mut solved, &lower, n);
        close(&product(&solved, &lower, n, n), &x[..3 * n]);
        assert!(cholesky(vec![0.0; 4], 2).is_err());
    }

    #[test]
    fn a_cut_keeps_the_largest_singular_values() {
        // Three orthogonal directions of sizes 3, 2 and 1 on both sides.
        let (rows, cols) = (3, 5);
        let mut a = vec![0.0; rows * cols];
        (a[2], a[cols + 4], a[2 * cols]) = (1.0, -3.0, 2.0);
        let mut two = a.clone();
        two[2] = 0.0;
        close(&singular_values(&a, rows, cols, &mut || Ok(())).unwrap(), &[3.0, 2.0, 1.0]);
        let turned = transposed(&a, rows, cols);
        close(&singular_values(&turned, cols, rows, &mut || Ok(())).unwrap(), &[3.0, 2.0, 1.0]);
        close(&cut(&a, rows, cols, 2), &two);
        close(&cut(&transposed(&a, rows, cols), cols, rows, 2), &transposed(&two, rows, cols));
        // Errors of a random matrix are orthogonal to what is kept, and a full rank keeps everything.
        let a = random(6 * 8);
        close(&cut(&a, 6, 8, 6), &a);
        let kept = cut(&a, 6, 8, 3);
        let left: Vec<f64> = a.iter().zip(&kept).map(|(a, k)| a - k).collect();
        close(&product(&left, &transposed(&kept, 6, 8), 8, 6), &[0.0; 36]);
        let again = cut(&kept, 6, 8, 3);
        close(&again, &kept);
    }
}
