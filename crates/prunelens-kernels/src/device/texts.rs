//! What texts amount to.

use candle_core::Tensor;

use super::{Backend, Buffer, Shape, launch};
use crate::error::{Error, Result};

/// Mean of each text's tokens, `[texts, width]`, of `x [tokens, width]` (f32), where texts of these lengths lie end to end.
/// Twin: [`crate::columns::text_means`].
pub fn text_means(backend: &dyn Backend, x: &Tensor, lengths: &[usize]) -> Result<Buffer<f32>> {
    let (tokens, width) = x.dims2()?;
    let mut offsets = vec![0];
    offsets.extend(lengths.iter().scan(0, |end, length| {
        *end += *length as u64;
        Some(*end)
    }));
    if offsets.last() != Some(&(tokens as u64)) {
        return Err(Error::invalid(format!("texts of {:?} tokens in all among {tokens}", offsets.last())));
    }
    let out = Buffer::new(backend, lengths.len() * width)?;
    if !out.is_empty() {
        let (x, offsets) = (Buffer::<f32>::of(backend, x)?, Buffer::from_slice(backend, &offsets)?);
        let arguments = [x.address(), offsets.address(), lengths.len() as u64, width as u64, out.address()];
        launch(backend, "texts", "text_means", Shape::over(out.len() as u64)?, &arguments)?;
    }
    Ok(out)
}
