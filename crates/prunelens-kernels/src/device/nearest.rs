//! The largest numbers of a table's rows and columns, of which a block at a time exists.

use candle_core::Tensor;

use super::{Backend, Buffer, Shape, THREADS, launch};
use crate::error::{Error, Result};

/// Rows that a block of threads goes through.
const ROWS: usize = 64;

/// The largest number that each row (or column) has shown so far, and where.
pub struct Largest(Buffer<u64>);

impl Largest {
    /// Of `len` rows that have shown nothing yet.
    pub fn new(backend: &dyn Backend, len: usize) -> Result<Self> {
        Buffer::zeros(backend, len).map(Self)
    }

    /// Place and number for each row, read back; nothing where none was shown. The lowest place among equals.
    pub fn found(&self, backend: &dyn Backend) -> Result<Vec<Option<(u32, f32)>>> {
        Ok(self.0.to_vec(backend)?.into_iter().map(read).collect())
    }
}

/// As the kernel writes it.
fn read(word: u64) -> Option<(u32, f32)> {
    let bits = (word >> 32) as u32;
    let bits = if bits >> 31 == 1 { bits & 0x7fff_ffff } else { !bits };
    (word != 0).then_some((!(word as u32), f32::from_bits(bits)))
}

/// Raise the largest numbers by a block `[rows, columns]` of a table that begins at `first`. Without `in_columns` the table
/// is one of things with themselves: its rows are its columns, and the diagonal is left out.
pub fn raise_largest(
    backend: &dyn Backend,
    block: &Tensor,
    first: (usize, usize),
    in_rows: &Largest,
    in_columns: Option<&Largest>,
) -> Result<()> {
    let (rows, columns) = block.dims2()?;
    let columns_of = in_columns.unwrap_or(in_rows);
    let within =
        |first: usize, len: usize, all: &Largest| first + len <= all.0.len() && u32::try_from(first + len).is_ok();
    if !within(first.0, rows, in_rows) || !within(first.1, columns, columns_of) {
        let (all, wide) = (in_rows.0.len(), columns_of.0.len());
        return Err(Error::invalid(format!(
            "a block of {rows} x {columns} at {first:?} is not in a table of {all} x {wide}"
        )));
    }
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    let block = Buffer::<f32>::of(backend, block)?;
    let arguments = [
        block.address(),
        rows as u64,
        columns as u64,
        first.0 as u64,
        first.1 as u64,
        u64::from(in_columns.is_none()),
        in_rows.0.address(),
        columns_of.0.address(),
    ];
    let high = rows.div_ceil(ROWS) as u64;
    let shape = Shape::grid(columns.div_ceil(THREADS as usize) as u64, high, THREADS)?;
    // The block lies in the table, as was checked.
    launch(backend, "nearest", "nearest", shape, &arguments)
}
