//! The state of a run on a GPU: weights and moments stay there, and what comes back of a step are its figures. Twin:
//! [`State`]'s own step.

use std::{fmt, sync::Arc};

use candle_core::{DType, Tensor};
use prunelens_kernels::{
    device::{
        Backend, Buffer,
        train::{self as kernels, Rule, Task},
    },
    with_f32,
};

use super::{
    adam::{Adam, BETAS, Moments},
    figures::Sums,
    kind::{Architecture, Decoder, Sparsity},
    spec::TrainSpec,
    state::{Course, State, Way},
    weights::Weights,
};
use crate::error::Result;

/// A [`State`] whose weights and moments are on a GPU.
pub struct DeviceState {
    backend: Arc<dyn Backend>,
    weights: kernels::Weights,
    adam: kernels::Adam,
    /// Lengths of decoder rows that keep length 1.
    ones: Buffer<f32>,
    /// Batches that were trained on.
    pub steps: u64,
    /// As in [`State`].
    pub course: Course,
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceState").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl DeviceState {
    /// Go on there.
    pub fn upload(backend: Arc<dyn Backend>, state: State) -> Result<Self> {
        let State { weights, adam, course } = state;
        let (d_in, d_sae) = (weights.d_in, weights.d_sae);
        let b = &*backend;
        let matrix = |values: &[f32]| Tensor::from_slice(values, (d_sae, d_in), b.device());
        let vector = |values: &Vec<f32>| Tensor::from_slice(values, values.len(), b.device());
        let moments = |of: &Moments| -> Result<kernels::Moments> {
            Ok(kernels::Moments {
                first: Buffer::from_slice(b, &of.first)?,
                second: Buffer::from_slice(b, &of.second)?,
            })
        };
        Ok(Self {
            weights: kernels::Weights {
                w_enc: matrix(&weights.w_enc)?,
                b_enc: vector(&weights.b_enc)?,
                w_dec: matrix(&weights.w_dec)?,
                b_dec: vector(&weights.b_dec)?,
                vectors: weights.vectors.iter().map(vector).collect::<candle_core::Result<_>>()?,
            },
            adam: kernels::Adam {
                w_enc: moments(&adam.w_enc)?,
                b_enc: moments(&adam.b_enc)?,
                w_dec: moments(&adam.w_dec)?,
                b_dec: moments(&adam.b_dec)?,
                vectors: adam.vectors.iter().map(moments).collect::<Result<_>>()?,
            },
            ones: Buffer::from_slice(b, &vec![1.0; d_sae])?,
            steps: adam.steps,
            course,
            backend,
        })
    }

    /// As it is now, to be kept or to go on elsewhere.
    pub fn download(&self) -> Result<State> {
        let values = |tensor: &Tensor| with_f32(tensor, <[f32]>::to_vec);
        let moments = |of: &kernels::Moments| -> Result<Moments> {
            Ok(Moments { first: of.first.to_vec(&*self.backend)?, second: of.second.to_vec(&*self.backend)? })
        };
        let (w, adam) = (&self.weights, &self.adam);
        Ok(State {
            weights: Weights {
                d_in: w.b_dec.elem_count(),
                d_sae: w.b_enc.elem_count(),
                w_enc: values(&w.w_enc)?,
                b_enc: values(&w.b_enc)?,
                w_dec: values(&w.w_dec)?,
                b_dec: values(&w.b_dec)?,
                vectors: w.vectors.iter().map(values).collect::<Result<_>>()?,
            },
            adam: Adam {
                steps: self.steps,
                w_enc: moments(&adam.w_enc)?,
                b_enc: moments(&adam.b_enc)?,
                w_dec: moments(&adam.w_dec)?,
                b_dec: moments(&adam.b_dec)?,
                vectors: adam.vectors.iter().map(moments).collect::<Result<_>>()?,
            },
            course: self.course.clone(),
        })
    }

    /// One step on the batch `x [tokens, d_in]`, with `progress` (0 to 1) of the budget used.
    pub fn step(&mut self, spec: &TrainSpec, x: &Tensor, progress: f64) -> Result<()> {
        let backend = &*self.backend;
        let (tokens, d_in) = x.dims2()?;
        let (rate, warmth) = spec.schedule(progress);
        let (dead, own);
        dead = self.course.dead(spec);
        let lengths = match spec.decoder {
            Decoder::Unit => &self.ones,
            Decoder::Free => {
                own = self.weights.lengths(backend)?;
                &own
            }
        };
        let task = Task { weights: &self.weights, lengths, x, dead: &dead };
        let kernels::Outcome { sums, gradients, fired, least } = match self.course.way(spec, d_in, tokens, warmth) {
            Way::Lists { choice, widths, l1, auxiliary } => {
                kernels::sparse(backend, &task, choice, widths, l1, auxiliary)?
            }
            Way::Relu { l1 } => kernels::dense(backend, &task, Rule::Relu { l1 })?,
            Way::Gated { l1 } => kernels::dense(backend, &task, Rule::Gated { l1 })?,
            Way::JumpRelu { jump, warmth } => {
                let rule = Rule::JumpRelu {
                    sparsity: match jump.sparsity {
                        Sparsity::Step => kernels::Sparsity::Step,
                        Sparsity::Tanh { scale } => kernels::Sparsity::Tanh(scale as f32),
                        Sparsity::Quadratic { target } => kernels::Sparsity::Quadratic(target as f32),
                    },
                    l0: jump.l0 as f32 * warmth,
                    bandwidth: jump.bandwidth as f32,
                    to_input: jump.to_input,
                    pull: jump.pull as f32,
                };
                kernels::dense(backend, &task, rule)?
            }
        };
        if !(sums.squared_error.is_finite() && gradients.are_finite()?) {
            return Err(self.course.diverged(spec, self.steps));
        }
        self.steps += 1;
        let t = self.steps as f64;
        let step = kernels::Step {
            rate: (spec.learning_rate * rate / (1.0 - BETAS.0.powf(t))) as f32,
            correction: (1.0 / (1.0 - BETAS.1.powf(t))) as f32,
            unit: spec.decoder == Decoder::Unit,
            clip: spec.clip,
            // Below zero a threshold would let negative pre-activations through.
            floor: matches!(spec.architecture, Architecture::JumpRelu(_)),
        };
        self.adam.step(backend, &self.weights, &gradients, step)?;
        let sums = Sums {
            tokens: tokens as f64,
            squared_error: sums.squared_error,
            squared_input: sums.squared_input,
            active: sums.active,
            penalty: sums.penalty,
            auxiliary: sums.auxiliary,
            inner: sums.inner,
            input: sums.input.into_iter().map(f64::from).collect(),
        };
        self.course.advance(spec, tokens, &sums, &fired, least);
        Ok(())
    }

    /// Memory of the GPU that an SAE takes while it is trained, in bytes: weights with their moments and gradients, and what a
    /// step works on.
    pub fn bytes(spec: &TrainSpec, d_in: usize) -> u64 {
        let (d_sae, d_in, batch) = (spec.d_sae as u64, d_in as u64, spec.batch as u64);
        let vectors = spec.architecture.vectors().len() as u64;
        let sparse = matches!(
            spec.architecture,
            Architecture::TopK { .. } | Architecture::BatchTopK(_) | Architecture::Matryoshka { .. }
        );
        // Pre-activations; of kinds that are computed by matrix products, latents, gates and the gradients by them as well.
        let matrices = if sparse { 1 } else { 5 };
        let width = DType::F32.size_in_bytes() as u64;
        width * (4 * (2 * d_sae * d_in + (1 + vectors) * d_sae + d_in) + matrices * batch * d_sae + 8 * batch * d_in)
    }
}
