//! Wanda: norms of inputs, ranks of weights, and what is left of them.

use candle_core::Tensor;

use super::{Backend, Buffer, DeviceRanks, Kernel, Matrix, Shape, Values, launch, launch_of, mask, memory::address};
use crate::{
    Group, Sparsity, cut,
    error::{Error, Result},
};

/// Groups that are sorted at the same time, and the scratch memory they may take together.
const GROUPS: usize = 2048;
const SCRATCH: usize = 1 << 29;

/// Ranks of weights `[rows, columns]` by their magnitude times the norm of what changes inside a group (magnitude alone
/// without norms). As [`ranks`](crate::ranks::ranks).
pub fn ranks(
    backend: &dyn Backend,
    values: &Values,
    (rows, columns): (usize, usize),
    group: Group,
    norms: Option<&Buffer<f32>>,
) -> Result<DeviceRanks> {
    let len = group.len(rows, columns);
    if values.len() != rows * columns || u32::try_from(len).is_err() {
        return Err(Error::invalid(format!("{} weights cannot be ranked as {rows} x {columns}", values.len())));
    }
    norms.map_or(Ok(()), |norms| norms.expect(len, "norms"))?;
    let (groups, group_stride, stride) = match group {
        Group::Row => (rows, columns, 1),
        Group::Column => (columns, 1, columns),
    };
    // The same widths as on the CPU.
    let out = if len <= usize::from(u16::MAX) + 1 {
        DeviceRanks::U16(Buffer::new(backend, values.len())?)
    } else {
        DeviceRanks::U32(Buffer::new(backend, values.len())?)
    };
    if out.is_empty() {
        return Ok(out);
    }
    // Keys and places, read from one half and written to the other.
    let blocks = groups.min(GROUPS).min(SCRATCH / (16 * len)).max(1);
    let keys = Buffer::<u32>::new(backend, blocks * 2 * len)?;
    let places = Buffer::<u32>::new(backend, blocks * 2 * len)?;
    let arguments = [
        values.address(),
        address(norms),
        groups as u64,
        len as u64,
        group_stride as u64,
        stride as u64,
        keys.address(),
        places.address(),
        out.address(),
    ];
    let kernel = Kernel { file: "prune", name: "ranks", of: [values.name(), out.name()] };
    // Scratch is two groups' length for each block.
    launch_of(backend, kernel, Shape::rows(blocks, 256)?, &arguments)?;
    Ok(out)
}

/// Lanes of a warp side by side, and rows that a block reads at the same time.
const SIDE: usize = 32;
const LINES: usize = 8;
/// Blocks that keep any GPU busy.
const BUSY: usize = 1024;

/// Sum of squares of each column of `x [.., columns]`, read back. Twin: `columns::add_squares`.
pub fn column_squares(backend: &dyn Backend, x: &Tensor) -> Result<Vec<f64>> {
    let sums = Buffer::zeros(backend, x.dims().last().copied().unwrap_or(0))?;
    add_column_squares(backend, x, &sums)?;
    sums.to_vec(backend)
}

/// Add the squares of each column of `x [.., columns]` to sums that stay where they are.
pub fn add_column_squares(backend: &dyn Backend, x: &Tensor, sums: &Buffer<f64>) -> Result<()> {
    let columns = x.dims().last().copied().unwrap_or(0);
    sums.expect(columns, "sums of columns")?;
    if x.elem_count() == 0 {
        return Ok(());
    }
    let rows = x.elem_count() / columns;
    let x = Values::of(backend, x)?;
    // As many columns as a load fetches, where that divides them.
    let several = if columns.is_multiple_of(16 / x.width()) { 16 / x.width() } else { 1 };
    let across = columns.div_ceil(SIDE * several);
    let down = (BUSY / across).clamp(1, rows.div_ceil(2 * LINES));
    let parts = Buffer::<f64>::new(backend, down * columns)?;
    let arguments = [x.address(), rows as u64, columns as u64, u64::from(several > 1), parts.address()];
    let kernel = Kernel { file: "prune", name: "column_squares", of: [x.name(), ""] };
    let shape = Shape::grid(across as u64, down as u64, (SIDE * LINES) as u32)?;
    // One number a column and row of blocks.
    launch_of(backend, kernel, shape, &arguments)?;
    add_parts(backend, &parts, down, sums)
}

/// Add up parts of the sums of columns, `[down, columns]`, one after the other.
pub(super) fn add_parts(backend: &dyn Backend, parts: &Buffer<f64>, down: usize, sums: &Buffer<f64>) -> Result<()> {
    let columns = sums.len();
    parts.expect(down * columns, "parts of sums")?;
    let arguments = [parts.address(), down as u64, columns as u64, sums.address()];
    launch(backend, "prune", "add_parts", Shape::over(columns as u64)?, &arguments)
}

/// A copy of weights `[rows, columns]` without those of lowest score: |w| times the norm of its column, or |w| alone.
/// Twin: `ranks::prune_rows`.
pub fn prune(backend: &dyn Backend, weight: &Tensor, norms: Option<&[f32]>, sparsity: Sparsity) -> Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    let matrix = Matrix::of(backend, weight)?;
    let norms = norms.map(|norms| Buffer::from_slice(backend, norms)).transpose()?;
    let out = match sparsity {
        Sparsity::Ratio(ratio) => {
            let ranks = ranks(backend, &matrix.values, (rows, columns), Group::Row, norms.as_ref())?;
            mask(backend, &matrix, Some((&ranks, cut(columns, ratio))), 0..rows)?
        }
        Sparsity::NM(n, m) => few_of_many(backend, &matrix, norms.as_ref(), n, m)?,
    };
    out.into_tensor(backend, &[rows, columns])
}

/// Without the `n` smallest of every `m` consecutive inputs.
fn few_of_many(
    backend: &dyn Backend,
    matrix: &Matrix,
    norms: Option<&Buffer<f32>>,
    n: usize,
    m: usize,
) -> Result<Values> {
    if m == 0 || !matrix.columns.is_multiple_of(m) {
        return Err(Error::invalid(format!("{m} does not divide {} inputs", matrix.columns)));
    }
    norms.map_or(Ok(()), |norms| norms.expect(matrix.columns, "norms"))?;
    let out = matrix.values.like(backend, matrix.values.len())?;
    let len = matrix.values.len() as u64;
    if len > 0 {
        let (columns, n, m) = (matrix.columns as u64, n as u64, m as u64);
        let arguments = [matrix.values.address(), address(norms), len, columns, n, m, out.address()];
        let kernel = Kernel { file: "prune", name: "few_of_many", of: [matrix.values.name(), ""] };
        // The output is as long as the matrix.
        launch_of(backend, kernel, Shape::over(len)?, &arguments)?;
    }
    Ok(out)
}
