//! Which numbers of two tensors are the same, a bit each, and the numbers that such bits keep.

use candle_core::Tensor;

use super::{Backend, Buffer, Kernel, Shape, Values, launch_of};
use crate::error::{Error, Result};

/// As kernels name numbers of which the bits alone count.
fn bits_of(values: &Values) -> [&'static str; 2] {
    [if values.width() == 2 { "u16" } else { "u32" }, ""]
}

/// A bit for each number of two tensors of one type and length, read back: 1 where they are the same bits.
/// Twin: [`bits::same`](crate::bits::same).
pub fn same_bits(backend: &dyn Backend, before: &Tensor, after: &Tensor) -> Result<Vec<u8>> {
    let (len, found) = (before.elem_count(), after.elem_count());
    if len != found || before.dtype() != after.dtype() {
        let (expected, found) = ((len, before.dtype()), (found, after.dtype()));
        return Err(Error::invalid(format!("numbers to be compared: expected {expected:?}, found {found:?}")));
    }
    let (before, after) = (Values::of(backend, before)?, Values::of(backend, after)?);
    let out = Buffer::<u8>::new(backend, len.div_ceil(8))?;
    if !out.is_empty() {
        let kernel = Kernel { file: "bits", name: "same_bits", of: bits_of(&before) };
        let arguments = [before.address(), after.address(), len as u64, out.address()];
        // A byte for eight numbers of each.
        launch_of(backend, kernel, Shape::over(out.len() as u64)?, &arguments)?;
    }
    out.to_vec(backend)
}

/// The numbers whose bit is 1, zeros for all others. Twin: [`bits::keep`](crate::bits::keep).
pub fn keep_bits(backend: &dyn Backend, tensor: &Tensor, bits: &[u8]) -> Result<Tensor> {
    let values = Values::of(backend, tensor)?;
    let (expected, found) = (values.len().div_ceil(8), bits.len());
    if expected != found {
        return Err(Error::invalid(format!("{} numbers need {expected} bytes of bits, found {found}", values.len())));
    }
    let out = values.like(backend, values.len())?;
    if !bits.is_empty() {
        let bits = Buffer::from_slice(backend, bits)?;
        let kernel = Kernel { file: "bits", name: "keep_bits", of: bits_of(&values) };
        let arguments = [values.address(), bits.address(), values.len() as u64, out.address()];
        // A byte for eight numbers, of which as many come out.
        launch_of(backend, kernel, Shape::over(bits.len() as u64)?, &arguments)?;
    }
    out.into_tensor(backend, tensor.dims())
}
