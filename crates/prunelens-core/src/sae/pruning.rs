//! An SAE at a ratio: the ranks of its weights, and the cut that they must reach to be kept.

use std::sync::Arc;

use prunelens_kernels::{Ranks, encode::STEPS};

use super::{Criterion, Ranked};
use crate::error::Result;

/// Ranks of an SAE's weights by one criterion. Made once; every ratio is a comparison against them.
#[derive(Debug)]
pub struct Order {
    /// By which the weights were ranked.
    pub criterion: Criterion,
    /// Of `W_enc [d_sae, d_in]`.
    pub enc: Ranked,
    /// Of `W_dec [d_sae, d_in]`.
    pub dec: Ranked,
}

impl Order {
    /// Memory that the ranks take.
    pub fn bytes(&self) -> u64 {
        self.enc.bytes() + self.dec.bytes()
    }
}

/// Ratio of step `step` of [`STEPS`].
pub fn grid_ratio(step: usize) -> f64 {
    step as f64 / STEPS as f64
}

/// An order at a ratio.
#[derive(Clone, Debug)]
pub struct Pruning {
    /// The ranks.
    pub order: Arc<Order>,
    /// Share of the weights that are zero.
    pub ratio: f64,
}

impl Pruning {
    /// Ranks of `W_enc` and the cut that they must reach.
    pub fn enc(&self) -> Result<(&Ranks, u32)> {
        Ok((self.order.enc.host()?, self.order.enc.cut(self.ratio)))
    }

    /// The same of `W_dec`.
    pub fn dec(&self) -> Result<(&Ranks, u32)> {
        Ok((self.order.dec.host()?, self.order.dec.cut(self.ratio)))
    }
}
