//! What texts amount to.

use candle_core::Tensor;

use super::{Backend, Buffer, Shape, launch, memory::address};
use crate::error::{Error, Result};

/// Where each text begins, and the last one's end.
fn offsets(lengths: &[usize], tokens: usize) -> Result<Vec<u64>> {
    let mut offsets = vec![0];
    offsets.extend(lengths.iter().scan(0, |end, length| {
        *end += *length as u64;
        Some(*end)
    }));
    if offsets.last() != Some(&(tokens as u64)) {
        return Err(Error::invalid(format!("texts of {:?} tokens in all among {tokens}", offsets.last())));
    }
    Ok(offsets)
}

/// Mean of each text's tokens, `[texts, width]`, of `x [tokens, width]` (f32), where texts of these lengths lie end to end.
/// Twin: [`crate::columns::text_means`].
pub fn text_means(backend: &dyn Backend, x: &Tensor, lengths: &[usize]) -> Result<Buffer<f32>> {
    let (tokens, width) = x.dims2()?;
    let offsets = offsets(lengths, tokens)?;
    let out = Buffer::new(backend, lengths.len() * width)?;
    if !out.is_empty() {
        let (x, offsets) = (Buffer::<f32>::of(backend, x)?, Buffer::from_slice(backend, &offsets)?);
        let arguments = [x.address(), offsets.address(), lengths.len() as u64, width as u64, out.address()];
        launch(backend, "texts", "text_means", Shape::over(out.len() as u64)?, &arguments)?;
    }
    Ok(out)
}

/// What texts' sums are made of besides the latents of their tokens.
pub struct TextSums<'a> {
    /// Tokens of each text.
    pub lengths: &'a [usize],
    /// What each token's latents are multiplied by.
    pub factors: &'a [f64],
    /// Latents `[d_sae]` that are added to each text so many times.
    pub zeros: Option<(&'a Buffer<f32>, &'a [f64])>,
    /// What each text's sums are divided by.
    pub divisors: &'a [f64],
}

/// Sums `[texts, d_sae]` of latents `dense [tokens, d_sae]`, where texts lie end to end. Twin: `core::sae::text_sums`.
pub fn text_sums(backend: &dyn Backend, dense: &Buffer<f32>, d_sae: usize, sums: &TextSums) -> Result<Buffer<f32>> {
    let (texts, tokens) = (sums.lengths.len(), sums.factors.len());
    let offsets = offsets(sums.lengths, tokens)?;
    dense.expect(tokens * d_sae, "latents")?;
    let extra = sums.zeros.map_or(texts, |(_, extra)| extra.len());
    sums.zeros.map_or(Ok(()), |(zeros, _)| zeros.expect(d_sae, "latents of zeros"))?;
    if sums.divisors.len() != texts || extra != texts {
        return Err(Error::invalid(format!("{texts} texts, {} divisors and {extra} counts", sums.divisors.len())));
    }
    let out = Buffer::new(backend, texts * d_sae)?;
    if !out.is_empty() {
        let (offsets, factors) = (Buffer::from_slice(backend, &offsets)?, Buffer::from_slice(backend, sums.factors)?);
        let divisors = Buffer::from_slice(backend, sums.divisors)?;
        let extra = sums.zeros.map(|(_, extra)| Buffer::from_slice(backend, extra)).transpose()?;
        let arguments = [
            dense.address(),
            offsets.address(),
            factors.address(),
            address(sums.zeros.map(|(zeros, _)| zeros)),
            address(extra.as_ref()),
            divisors.address(),
            texts as u64,
            d_sae as u64,
            out.address(),
        ];
        launch(backend, "texts", "text_sums", Shape::over(out.len() as u64)?, &arguments)?;
    }
    Ok(out)
}
