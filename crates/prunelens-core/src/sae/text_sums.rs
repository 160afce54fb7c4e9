//! Latents of whole texts, added up.

use candle_core::{DType, Tensor};

use super::{Dictionary, Encoded, Latents, Pruning, normalize::Undo};
use crate::{
    error::{Error, Result},
    model::tokens_at_once,
    progress::Tick,
};

/// How the latents of a text's tokens are added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextSum {
    /// How many there are.
    pub tokens: usize,
    /// Whether each token's latents are multiplied by what undoes the normalisation of its input, as reconstructions are.
    pub undone: bool,
    /// How many tokens of zeros are added.
    pub zeros: usize,
    /// What the sums are divided by.
    pub divisor: f64,
}

impl TextSum {
    /// What a token's latents are multiplied by. An SAE that scales its input to a length makes nothing defined of zeros: they do not
    /// count.
    pub(super) fn factor(&self, encoded: f32) -> f64 {
        match self.undone {
            true if encoded.is_finite() => encoded.into(),
            true => 0.0,
            false => 1.0,
        }
    }
}

/// Texts in groups that follow each other, each of at most `room` tokens or of one text.
pub(super) fn groups(mut texts: &[TextSum], room: usize) -> Vec<&[TextSum]> {
    let mut groups = Vec::new();
    while !texts.is_empty() {
        let mut tokens = 0;
        let fits = |text: &&TextSum| {
            tokens += text.tokens;
            tokens <= room
        };
        let (group, rest) = texts.split_at(texts.iter().take_while(fits).count().max(1));
        groups.push(group);
        texts = rest;
    }
    groups
}

/// As [`Dictionary::text_sums`], by lists of latents.
pub(super) fn by_lists<D: Dictionary + ?Sized>(
    sae: &D,
    x: &Tensor,
    pruning: Option<&Pruning>,
    texts: &[TextSum],
    tick: Tick,
) -> Result<Vec<Vec<(u32, f32)>>> {
    let (d_in, d_sae) = (sae.sae().d_in(), sae.sae().d_sae());
    let zeros = match texts.iter().any(|text| text.zeros > 0) {
        true => Some(sae.encode(&Tensor::zeros((1, d_in), DType::F32, x.device())?, pruning)?),
        false => None,
    };
    let chunk = tokens_at_once((2 * d_in * d_sae) as f64, sae.device());
    let mut sums = Sums { values: vec![0.0; d_sae], touched: Vec::new() };
    let mut out = Vec::with_capacity(texts.len());
    let (n, mut start) = (x.dim(0)?, 0);
    let (mut encoded, mut token) = (Encoded::new(Latents::new(d_sae), Undo::default()), 0);
    for text in texts {
        for _ in 0..text.tokens {
            if token == encoded.rows() {
                let len = chunk.min(n - start);
                if len == 0 {
                    return Err(Error::invalid(format!("texts of more than the {n} tokens that there are")));
                }
                tick()?;
                encoded = sae.encode(&x.narrow(0, start, len)?, pruning)?;
                (start, token) = (start + len, 0);
            }
            sums.add(&encoded, token, 1.0, text)?;
            token += 1;
        }
        if let (Some(zeros), 1..) = (&zeros, text.zeros) {
            sums.add(zeros, 0, text.zeros as f64, text)?;
        }
        out.push(sums.take(text.divisor));
    }
    Ok(out)
}

/// Sums of one text, and which of them are not 0.
struct Sums {
    values: Vec<f64>,
    touched: Vec<u32>,
}

impl Sums {
    fn add(&mut self, encoded: &Encoded, token: usize, times: f64, text: &TextSum) -> Result<()> {
        let factor = times * text.factor(encoded.undo().factors()?.of(token));
        if factor == 0.0 {
            return Ok(());
        }
        let (indices, values) = encoded.latents()?.row(token);
        for (&index, &value) in indices.iter().zip(values) {
            let sum = &mut self.values[index as usize];
            if *sum == 0.0 {
                self.touched.push(index);
            }
            *sum += factor * f64::from(value);
        }
        Ok(())
    }

    fn take(&mut self, divisor: f64) -> Vec<(u32, f32)> {
        self.touched.sort_unstable();
        self.touched.dedup();
        let values = &mut self.values;
        self.touched.drain(..).map(|at| (at, (std::mem::take(&mut values[at as usize]) / divisor) as f32)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_room_or_one_text() {
        let lengths = [3, 4, 0, 9, 1, 7, 8, 8, 1];
        let texts: Vec<_> =
            lengths.map(|tokens| TextSum { tokens, undone: false, zeros: 0, divisor: 1.0 }).into_iter().collect();
        let found: Vec<Vec<usize>> =
            groups(&texts, 8).into_iter().map(|group| group.iter().map(|text| text.tokens).collect()).collect();
        assert_eq!(found, [vec![3, 4, 0], vec![9], vec![1, 7], vec![8], vec![8], vec![1]]);
        assert!(groups(&[], 8).is_empty());
    }
}
