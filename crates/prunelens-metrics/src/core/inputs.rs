//! What the SAEs of one model read in one batch, with the sums over it that all variants share.

use prunelens_kernels::Spread;

/// Activations of one batch at the hook, in the SAE's space, as far as figures need them, and which of them count.
pub struct Inputs {
    /// Tokens of a row; the batch is whole rows.
    pub length: usize,
    /// Which tokens count: those that are not special.
    pub kept: Vec<bool>,
    /// How many of them.
    pub tokens: usize,
    /// About zero and about the mean of those that count.
    pub spread: Spread,
}

impl Inputs {
    /// Of rows of `length` tokens; `kept` are those that count.
    pub fn new(spread: Spread, length: usize, kept: Vec<bool>) -> Self {
        let tokens = kept.iter().filter(|k| **k).count();
        Self { length, kept, tokens, spread }
    }
}
