//! The weights' steps. Twin: `core::train::adam`.

use super::{Backend, Buffer, Gradients, Shape, Weights, address_of, bits, launch};
use crate::error::Result;

/// Running means of one tensor's gradients and of their squares.
pub struct Moments {
    /// Of gradients.
    pub first: Buffer<f32>,
    /// Of their squares.
    pub second: Buffer<f32>,
}

/// Those of all weights.
pub struct Adam {
    /// As [`Weights::w_enc`].
    pub w_enc: Moments,
    /// As [`Weights::b_enc`].
    pub b_enc: Moments,
    /// As [`Weights::w_dec`].
    pub w_dec: Moments,
    /// As [`Weights::b_dec`].
    pub b_dec: Moments,
    /// As [`Weights::vectors`].
    pub vectors: Vec<Moments>,
}

/// How a step is taken.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The learning rate over `1 - beta1^t`.
    pub rate: f32,
    /// Inverse of `1 - beta2^t`.
    pub correction: f32,
    /// Whether decoder rows keep length 1.
    pub unit: bool,
    /// Gradients of all weights together that are longer are cut to this length.
    pub clip: Option<f64>,
    /// Whether `vectors` may not fall below zero.
    pub floor: bool,
}

impl Adam {
    /// One step down the gradients, in place.
    pub fn step(&self, backend: &dyn Backend, weights: &Weights, gradients: &Gradients, step: Step) -> Result<()> {
        let d_sae = weights.d_sae();
        let at = |tensor| address_of(backend, tensor);
        let factor = match step.clip {
            Some(clip) => Some(factor(backend, weights, gradients, step.unit, clip)?),
            None => None,
        };
        let factor = factor.as_ref().map_or(0, Buffer::address);
        let (rate, correction) = (bits(step.rate), bits(step.correction));
        let arguments = [
            at(&weights.w_enc)?,
            self.w_enc.first.address(),
            self.w_enc.second.address(),
            at(&gradients.w_enc)?,
            at(&weights.w_dec)?,
            self.w_dec.first.address(),
            self.w_dec.second.address(),
            at(&gradients.w_dec)?,
            gradients.by_length.address(),
            factor,
            rate,
            correction,
            u64::from(step.unit),
            weights.d_in() as u64,
        ];
        launch(backend, "train", "adam_rows", Shape::many_rows(d_sae, weights.d_in())?, &arguments)?;
        let vectors = weights.vectors.iter().zip(&self.vectors).zip(&gradients.vectors);
        let vectors = vectors.map(|((weights, moments), gradients)| (weights, moments, gradients, step.floor));
        let biases = [
            (&weights.b_enc, &self.b_enc, &gradients.b_enc, false),
            (&weights.b_dec, &self.b_dec, &gradients.b_dec, false),
        ];
        for (weights, moments, gradients, floor) in biases.into_iter().chain(vectors) {
            let len = weights.elem_count() as u64;
            let arguments = [
                at(weights)?,
                moments.first.address(),
                moments.second.address(),
                at(gradients)?,
                factor,
                rate,
                correction,
                u64::from(floor),
                len,
            ];
            launch(backend, "train", "adam", Shape::over(len)?, &arguments)?;
        }
        Ok(())
    }
}

/// What all gradients are multiplied by to be no longer than `clip` together.
fn factor(
    backend: &dyn Backend,
    weights: &Weights,
    gradients: &Gradients,
    unit: bool,
    clip: f64,
) -> Result<Buffer<f32>> {
    let d_sae = weights.d_sae();
    let vectors: Vec<_> = [&gradients.b_enc, &gradients.b_dec].into_iter().chain(&gradients.vectors).collect();
    let squares = Buffer::<f64>::new(backend, d_sae + vectors.len())?;
    let arguments = [
        address_of(backend, &weights.w_dec)?,
        address_of(backend, &gradients.w_enc)?,
        address_of(backend, &gradients.w_dec)?,
        gradients.by_length.address(),
        u64::from(unit),
        weights.d_in() as u64,
        squares.address(),
    ];
    launch(backend, "train", "squares_of_rows", Shape::many_rows(d_sae, weights.d_in())?, &arguments)?;
    for (at, vector) in vectors.into_iter().enumerate() {
        let to = squares.address() + ((d_sae + at) * size_of::<f64>()) as u64;
        let len = vector.elem_count();
        let arguments = [address_of(backend, vector)?, len as u64, to];
        launch(backend, "train", "squares_of", Shape::long_rows(1, len)?, &arguments)?;
    }
    let factor = Buffer::<f32>::new(backend, 1)?;
    let arguments = [squares.address(), squares.len() as u64, clip.to_bits(), factor.address()];
    launch(backend, "train", "clip_factor", Shape::long_rows(1, squares.len())?, &arguments)?;
    Ok(factor)
}
