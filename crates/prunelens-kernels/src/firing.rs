//! How often latents fire.

use crate::Latents;

/// Of tokens of which some count, in texts of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Firing {
    /// Of each latent the tokens on which it fires.
    pub tokens: Vec<u32>,
    /// Of each latent the texts in which it fires at least once.
    pub texts: Vec<u32>,
    /// Sum of all activations.
    pub l1: f64,
}

impl Firing {
    /// Of latents of whole texts of `length` tokens; `kept` are the tokens that count.
    pub fn of(latents: &Latents, kept: &[bool], length: usize) -> Self {
        let mut firing = Self { tokens: vec![0; latents.d_sae], texts: vec![0; latents.d_sae], l1: 0.0 };
        // Texts are numbered from 1; 0 is none.
        let mut last_text = vec![0; latents.d_sae];
        for (token, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            let text = token / length.max(1) + 1;
            let (indices, values) = latents.row(token);
            for (&latent, _) in indices.iter().zip(values).filter(|(_, value)| **value > 0.0) {
                let latent = latent as usize;
                firing.tokens[latent] += 1;
                if last_text[latent] != text {
                    last_text[latent] = text;
                    firing.texts[latent] += 1;
                }
            }
            firing.l1 += values.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        firing
    }

    /// That of other texts added.
    pub fn add(&mut self, other: &Self) {
        self.tokens.iter_mut().zip(&other.tokens).for_each(|(sum, more)| *sum += more);
        self.texts.iter_mut().zip(&other.texts).for_each(|(sum, more)| *sum += more);
        self.l1 += other.l1;
    }

    /// Latents that fire, over all tokens.
    pub fn l0(&self) -> u64 {
        self.tokens.iter().map(|tokens| u64::from(*tokens)).sum()
    }
}
