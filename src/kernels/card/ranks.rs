//! Wanda: norms of inputs, and ranks of weights.

use super::{Buffer, Card, CardRanks, Kernel, Shape, Values, memory::address};
use crate::{
    error::{Error, Result},
    prune::Group,
};

/// Groups that are sorted at the same time, and the scratch memory they may take together.
const GROUPS: usize = 2048;
const SCRATCH: usize = 1 << 29;

/// Ranks of weights `[rows, columns]` by their magnitude times the norm of what changes inside a group (magnitude alone
/// without norms). Twin: `prune::order::ranks`.
pub fn ranks(
    card: &dyn Card,
    values: &Values,
    (rows, columns): (usize, usize),
    group: Group,
    norms: Option<&Buffer<f32>>,
) -> Result<CardRanks> {
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
        CardRanks::U16(Buffer::new(card, values.len())?)
    } else {
        CardRanks::U32(Buffer::new(card, values.len())?)
    };
    if out.is_empty() {
        return Ok(out);
    }
    // Keys and places, read from one half and written to the other.
    let blocks = groups.min(GROUPS).min(SCRATCH / (16 * len)).max(1);
    let keys = Buffer::<u32>::new(card, blocks * 2 * len)?;
    let places = Buffer::<u32>::new(card, blocks * 2 * len)?;
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
    let name = format!("ranks_{}_{}", values.name(), out.name());
    // SAFETY: the kernel's arguments; scratch is two groups' length for each block.
    unsafe { card.launch(Kernel { file: "ranks", name }, Shape::rows(blocks, 256)?, &arguments)? };
    Ok(out)
}

/// Add the squares of each column of `x [rows, columns]` to `squares`. Twin: `prune::norms::add_squares`.
pub fn add_squares(card: &dyn Card, x: &Values, squares: &mut Buffer<f64>) -> Result<()> {
    let columns = squares.len();
    let rows = x.len() / columns.max(1);
    if x.len() != rows * columns {
        return Err(Error::invalid(format!("{} numbers are no rows of {columns}", x.len())));
    }
    let arguments = [x.address(), rows as u64, columns as u64, squares.address()];
    let kernel = Kernel { file: "ranks", name: format!("add_squares_{}", x.name()) };
    // SAFETY: the kernel's arguments; lengths were checked above.
    unsafe { card.launch(kernel, Shape::over(columns as u64)?, &arguments) }
}
