//! Texts of different lengths read side by side without padding: keys and values are kept, so that texts can share a
//! beginning and be read on token by token; a pass can stop at a hook, go on with another activation there, and take a
//! gradient back to it. On the CPU in f32; the model's weights are constants.

mod generate;
mod gradient;
mod loss;
mod pass;
mod reading;
#[cfg(test)]
mod tests;
mod text;

pub use generate::likeliest;
pub use gradient::Trace;
pub use loss::cross_entropy;
pub use pass::Stopped;
pub use text::{Prefix, Text};

use std::sync::Arc;

use candle_core::{DType, Device};
use prunelens_kernels::on_cpu_f32;

use super::{Model, ToDevice};
use crate::error::Result;

/// Whether a model can read ragged texts as it is.
pub fn reads_ragged(model: &Model) -> bool {
    on_cpu_f32(&model.embed) && model.ops.backend().is_none()
}

/// The model itself if it can read ragged texts, else a copy that can: on the CPU, in f32.
pub fn readable(model: &Arc<Model>) -> Result<Arc<Model>> {
    if reads_ragged(model) {
        return Ok(model.clone());
    }
    Ok(Arc::new(ToDevice::new(&Device::Cpu, DType::F32).model(model)?))
}
