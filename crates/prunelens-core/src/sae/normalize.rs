//! Normalisation of an SAE's input, and undoing it on the reconstruction (SAELens' `normalize_activations`).

use candle_core::Tensor;

use crate::error::Result;

/// What is done to an activation before it is encoded, and undone afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// Nothing.
    None,
    /// `(x - mean) / (std + 1e-5)`, standard deviation with one degree of freedom less, no affine part.
    LayerNorm,
    /// `x sqrt(d_in) / |x|`.
    ConstantNormRescale,
}

/// Per token: the factor and the shift that bring a reconstruction back; none where nothing was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Undo(pub(super) Vec<(f32, f32)>);

impl Normalize {
    /// Normalise rows of width `d` in place.
    pub fn apply(self, x: &mut [f32], d: usize) -> Undo {
        let undo = match self {
            Self::None => return Undo::default(),
            Self::LayerNorm => x.chunks_mut(d).map(layer_norm).collect(),
            Self::ConstantNormRescale => x.chunks_mut(d).map(constant_norm).collect(),
        };
        Undo(undo)
    }
}

fn layer_norm(row: &mut [f32]) -> (f32, f32) {
    let n = row.len() as f64;
    let mean = (row.iter().map(|v| f64::from(*v)).sum::<f64>() / n) as f32;
    row.iter_mut().for_each(|v| *v -= mean);
    let squares: f64 = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    // torch's std subtracts the (tiny) mean of what is left once more; in f64 that changes nothing.
    let std = (squares / (n - 1.0).max(1.0)).sqrt() as f32;
    row.iter_mut().for_each(|v| *v /= std + 1e-5);
    (std, mean)
}

fn constant_norm(row: &mut [f32]) -> (f32, f32) {
    let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let factor = ((row.len() as f64).sqrt() / norm) as f32;
    row.iter_mut().for_each(|v| *v *= factor);
    (1.0 / factor, 0.0)
}

impl Undo {
    /// What a change of the normalised reconstruction of one token is multiplied by.
    pub fn factor(&self, token: usize) -> f32 {
        self.0.get(token).map_or(1.0, |(factor, _)| *factor)
    }

    /// Rows `[n, d]` brought back, where they are.
    pub fn apply_tensor(&self, x: &Tensor) -> Result<Tensor> {
        if self.0.is_empty() {
            return Ok(x.clone());
        }
        let column =
            |part: fn(&(f32, f32)) -> f32| Tensor::from_iter(self.0.iter().map(part), x.device())?.unsqueeze(1);
        Ok(x.broadcast_mul(&column(|undo| undo.0)?)?.broadcast_add(&column(|undo| undo.1)?)?)
    }

    /// Bring rows of width `d` back, in place. The factor is used without the epsilon of the way in, as SAELens does.
    pub fn apply(&self, x: &mut [f32], d: usize) {
        for (row, (factor, shift)) in x.chunks_mut(d).zip(&self.0) {
            row.iter_mut().for_each(|v| *v = *v * factor + shift);
        }
    }
}
