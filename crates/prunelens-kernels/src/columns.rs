//! Sums over the rows of a matrix, a number for each column.

/// Add the squares of each column of `rows [n, squares.len()]`.
pub fn add_squares(squares: &mut [f64], rows: &[f32]) {
    for row in rows.chunks(squares.len()) {
        squares.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v) * f64::from(*v));
    }
}
