//! Latents to reconstructions.

use super::{Backend, Buffer, Kernel, Lists, Mask, Matrix, Shape, memory::address};
use crate::error::Result;

/// Columns of a block.
const COLUMNS: u32 = 128;

/// `f W + bias` with only the active latents read: `[tokens, d_in]`; `divisors` divide out a rescaling.
/// Twin: `kernels::encode::decode`.
pub fn decode(
    backend: &dyn Backend,
    lists: &Lists,
    matrix: &Matrix,
    mask: Mask,
    bias: &Buffer<f32>,
    divisors: Option<&Buffer<f32>>,
) -> Result<Buffer<f32>> {
    let d_in = matrix.columns;
    let tokens = lists.offsets.len().saturating_sub(1);
    bias.expect(d_in, "the decoder's bias")?;
    divisors.map_or(Ok(()), |divisors| divisors.expect(matrix.rows, "divisors of latents"))?;
    lists.values.expect(lists.indices.len(), "latents")?;
    let out = Buffer::new(backend, tokens * d_in)?;
    if out.is_empty() {
        return Ok(out);
    }
    let masked = matrix.masked("decode", mask)?;
    let arguments = [
        lists.offsets.address(),
        lists.indices.address(),
        lists.values.address(),
        matrix.values.address(),
        masked.ranks,
        masked.cut,
        bias.address(),
        address(divisors),
        d_in as u64,
        out.address(),
    ];
    let shape = Shape::grid(tokens as u64, (d_in as u64).div_ceil(u64::from(COLUMNS)), COLUMNS)?;
    // SAFETY: the kernel's arguments; lists name latents of this dictionary, and lengths were checked.
    unsafe { backend.launch(Kernel { file: "decode", name: masked.name }, shape, &arguments)? };
    Ok(out)
}
