//! What texts amount to.

use candle_core::Tensor;

use super::{Backend, Buffer, Lists, Shape, launch, memory::address};
use crate::{
    Firing,
    error::{Error, Result},
};

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

/// Lists counted one after the other, on the GPU. Twin: [`crate::firing::Counts`].
pub struct FiringCounts {
    length: usize,
    kept: Buffer<u8>,
    /// A bit for each latent of each text.
    seen: Buffer<u32>,
    tokens: Buffer<u32>,
    texts: Buffer<u32>,
    /// Of each token.
    sums: Buffer<f64>,
    /// Tokens that were counted.
    counted: usize,
}

impl FiringCounts {
    /// Of no token yet: `kept` are those of all that count, in texts of `length` tokens.
    pub fn new(backend: &dyn Backend, d_sae: usize, kept: &[bool], length: usize) -> Result<Self> {
        let flags: Vec<u8> = kept.iter().map(|kept| u8::from(*kept)).collect();
        let length = length.max(1);
        Ok(Self {
            length,
            seen: Buffer::zeros(backend, kept.len().div_ceil(length) * d_sae.div_ceil(32))?,
            tokens: Buffer::zeros(backend, d_sae)?,
            texts: Buffer::zeros(backend, d_sae)?,
            sums: Buffer::zeros(backend, kept.len())?,
            kept: Buffer::from_slice(backend, &flags)?,
            counted: 0,
        })
    }

    /// Count the latents of the tokens that come next.
    pub fn add(&mut self, backend: &dyn Backend, lists: &Lists) -> Result<()> {
        let (first, rows) = (self.counted, lists.rows());
        lists.expect(self.tokens.len(), "counts")?;
        if first + rows > self.kept.len() {
            return Err(Error::invalid(format!("latents of more than the {} tokens that were told", self.kept.len())));
        }
        if rows == 0 {
            return Ok(());
        }
        self.counted += rows;
        let arguments = [
            lists.spans(),
            lists.latents(),
            rows as u64,
            first as u64,
            self.length as u64,
            self.kept.address(),
            self.tokens.len().div_ceil(32) as u64,
            self.seen.address(),
            self.tokens.address(),
            self.texts.address(),
            self.sums.address(),
        ];
        launch(backend, "texts", "count_firing", Shape::warps(rows as u64, 1)?, &arguments)
    }

    /// Read back: waits for all that was launched.
    pub fn to_firing(&self, backend: &dyn Backend) -> Result<Firing> {
        let l1 = self.sums.to_vec(backend)?.iter().sum();
        Ok(Firing { tokens: self.tokens.to_vec(backend)?, texts: self.texts.to_vec(backend)?, l1 })
    }
}
