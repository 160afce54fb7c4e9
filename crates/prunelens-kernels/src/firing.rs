//! How often latents fire.

use crate::Latents;

/// Of tokens of which some count, in texts of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// Of each latent the tokens on which it fires.
    pub tokens: Vec<u32>,
    /// Of each latent the texts in which it fires at least once.
    pub texts: Vec<u32>,
    /// Sum of all activations.
    pub l1: f64,
}

impl Firing {
    /// That of other texts added.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.tokens.len(), other.tokens.len(), "latents of one SAE");
        self.tokens.iter_mut().zip(&other.tokens).for_each(|(sum, more)| *sum += more);
        self.texts.iter_mut().zip(&other.texts).for_each(|(sum, more)| *sum += more);
        self.l1 += other.l1;
    }

    /// Latents that fire, over all tokens.
    pub fn l0(&self) -> u64 {
        self.tokens.iter().map(|tokens| u64::from(*tokens)).sum()
    }
}

/// Latents counted as they come.
pub struct Counts<'a> {
    kept: &'a [bool],
    length: usize,
    firing: Firing,
    /// Of each latent the last text in which it fired. Texts are numbered from 1; 0 is none.
    last: Vec<usize>,
    /// Tokens that were counted.
    counted: usize,
}

impl<'a> Counts<'a> {
    /// Of no token yet: `kept` are those of all that count, in texts of `length` tokens.
    pub fn new(d_sae: usize, kept: &'a [bool], length: usize) -> Self {
        let firing = Firing { tokens: vec![0; d_sae], texts: vec![0; d_sae], l1: 0.0 };
        Self { kept, length: length.max(1), firing, last: vec![0; d_sae], counted: 0 }
    }

    /// Count the latents of the tokens that come next; of more tokens than there are those beyond are none.
    pub fn add(&mut self, latents: &Latents) {
        let first = self.counted;
        self.counted += latents.rows();
        let rows = self.kept.iter().enumerate().skip(first).zip(0..latents.rows());
        for ((token, _), row) in rows.filter(|((_, kept), _)| **kept) {
            let text = token / self.length + 1;
            let (indices, values) = latents.row(row);
            for (&latent, _) in indices.iter().zip(values).filter(|(_, value)| **value > 0.0) {
                let latent = latent as usize;
                self.firing.tokens[latent] += 1;
                if self.last[latent] != text {
                    self.last[latent] = text;
                    self.firing.texts[latent] += 1;
                }
            }
            self.firing.l1 += values.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
    }

    /// What was counted.
    pub fn finish(self) -> Firing {
        self.firing
    }
}
