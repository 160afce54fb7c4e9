//! Normalisation of an SAE's input, and undoing it on the reconstruction (SAELens' `normalize_activations`).

use std::sync::OnceLock;

use candle_core::Tensor;
use prunelens_kernels::with_f32;

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

/// Per token: the factor and the shift that bring a reconstruction back; nothing where nothing was done.
#[derive(Clone, Debug, Default)]
pub struct Undo {
    rows: OnceLock<Vec<(f32, f32)>>,
    /// `[tokens, 2]` on a GPU, read back when somebody asks for them.
    there: Option<Tensor>,
}

/// The factors of [`Undo`].
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a>(&'a [(f32, f32)]);

impl Factors<'_> {
    /// What a change of the normalised reconstruction of one token is multiplied by.
    pub fn of(&self, token: usize) -> f32 {
        self.0.get(token).map_or(1.0, |(factor, _)| *factor)
    }
}

impl Normalize {
    /// SAELens' name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LayerNorm => "layer_norm",
            Self::ConstantNormRescale => "constant_norm_rescale",
        }
    }

    /// Normalise rows of width `d` in place.
    pub fn apply(self, x: &mut [f32], d: usize) -> Undo {
        let rows: Vec<(f32, f32)> = match self {
            Self::None => return Undo::default(),
            Self::LayerNorm => x.chunks_mut(d).map(layer_norm).collect(),
            Self::ConstantNormRescale => x.chunks_mut(d).map(constant_norm).collect(),
        };
        Undo { rows: OnceLock::from(rows), there: None }
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
    /// Of what a GPU normalised, `[tokens, 2]`.
    pub(super) fn on_device(there: Tensor) -> Self {
        Self { rows: OnceLock::new(), there: Some(there) }
    }

    /// The first to ask waits for a GPU.
    fn rows(&self) -> Result<&[(f32, f32)]> {
        match (self.rows.get(), &self.there) {
            (Some(rows), _) => Ok(rows),
            (None, Some(there)) => {
                let row = |&[factor, shift]: &[f32; 2]| (factor, shift);
                let rows = with_f32(&there.flatten_all()?, |rows| rows.as_chunks().0.iter().map(row).collect())?;
                Ok(self.rows.get_or_init(|| rows))
            }
            (None, None) => Ok(&[]),
        }
    }

    /// Of each token.
    pub fn factors(&self) -> Result<Factors<'_>> {
        self.rows().map(Factors)
    }

    /// Rows `[n, d]` brought back, where they are.
    pub fn apply_tensor(&self, x: &Tensor) -> Result<Tensor> {
        let undo = match &self.there {
            Some(there) => there.to_device(x.device())?,
            None if self.rows()?.is_empty() => return Ok(x.clone()),
            None => {
                let rows = self.rows()?;
                let numbers = rows.iter().flat_map(|(factor, shift)| [*factor, *shift]);
                Tensor::from_iter(numbers, x.device())?.reshape((rows.len(), 2))?
            }
        };
        Ok(x.broadcast_mul(&undo.narrow(1, 0, 1)?)?.broadcast_add(&undo.narrow(1, 1, 1)?)?)
    }

    /// Bring rows of width `d` back, in place. The factor is used without the epsilon of the way in, as SAELens does.
    pub fn apply(&self, x: &mut [f32], d: usize) -> Result<()> {
        for (row, (factor, shift)) in x.chunks_mut(d).zip(self.rows()?) {
            row.iter_mut().for_each(|v| *v = *v * factor + shift);
        }
        Ok(())
    }
}
