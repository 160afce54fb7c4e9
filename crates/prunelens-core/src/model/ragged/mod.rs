//! Texts of different lengths read side by side without padding: keys and values are kept, so that texts can share a
//! beginning and be read on token by token; a pass can stop at a hook, go on with another activation there, and take a
//! gradient back to it. The model's weights are constants. On the CPU all is in f32, on a GPU what is kept and gradients are.

mod generate;
mod gradient;
mod loss;
mod pass;
mod reading;
#[cfg(test)]
mod tests;
mod text;

pub use gradient::Trace;
pub use loss::cross_entropy;
pub use pass::Stopped;
pub use text::{Prefix, Text};

use std::sync::Arc;

use candle_core::{DType, Device};
use prunelens_kernels::{on_cpu_f32, ops};

use super::{Model, ToDevice};
use crate::error::Result;

/// Whether a model can read ragged texts as it is: on a GPU, or on the CPU in f32.
pub fn reads_ragged(model: &Model) -> bool {
    match model.ops.backend() {
        Some(_) => matches!(model.dtype, DType::F32 | DType::BF16 | DType::F16),
        None => on_cpu_f32(&model.embed),
    }
}

/// The model itself if it can read ragged texts, else a copy that can: on the CPU, in f32.
pub fn readable(model: &Arc<Model>) -> Result<Arc<Model>> {
    if reads_ragged(model) {
        return Ok(model.clone());
    }
    Ok(Arc::new(ToDevice::new(&Device::Cpu, DType::F32, ops::of(&Device::Cpu)?).model(model)?))
}
