//! What a transformer's layers are told besides the activations that they read.

use candle_core::Tensor;

/// What a row is divided by, and multiplied with afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// LayerNorm; else RMS norm.
    pub centred: bool,
    /// Added to the mean square before the root is taken.
    pub eps: f64,
    /// Factor on each column, in f32; `None` where it was folded into the next matrix.
    pub weight: Option<&'a Tensor>,
    /// Added to each column, in f32.
    pub bias: Option<&'a Tensor>,
}

/// Cosines and sines of rotary positions, `[time, rotated / 2]` each, in f32.
pub type Tables<'a> = (&'a Tensor, &'a Tensor);
