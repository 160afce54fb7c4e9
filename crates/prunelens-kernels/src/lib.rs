//! Inner loops on plain slices: what candle's CPU backend runs on one thread, or cannot fuse; the kernels for GPUs beside
//! them, and in [`ops`] the operations that choose between the two.
//!
//! Every loop is compiled three times (AVX-512, AVX2 with FMA, baseline) and the best one the CPU has is taken when it
//! runs, so that one binary is fast on a server and still starts on an old machine.

#![warn(missing_docs)]

pub mod act;
pub mod attention;
pub mod bits;
pub mod columns;
pub mod device;
pub mod encode;
pub mod error;
pub mod firing;
pub mod gpu;
pub mod gradient;
pub mod kept;
pub mod kv_cache;
pub mod latents;
pub mod layers;
pub mod losses;
pub mod matmul;
pub mod nearest;
pub mod ops;
pub mod panel;
pub mod panics;
pub mod pointwise;
pub mod ragged;
pub mod ranks;
mod ratios;
pub mod reconstruction;
pub mod select;
pub mod simd;
pub mod spread;
pub mod text;
mod widen;

pub use act::Act;
pub use firing::Firing;
pub use kept::{Kept, Ranking, keep};
pub use latents::Latents;
pub use ranks::{Group, Ranks, Sparsity, cut};
pub use reconstruction::TokenErrors;
pub use spread::Spread;
pub use widen::{widen_into, widened};

use candle_core::{CpuStorage, Device, Storage, Tensor};

use crate::error::{Error, Result};

/// Read the values of an f32 tensor: in place where it is contiguous and on the CPU, else from a copy.
pub fn with_f32<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    if !tensor.device().is_cpu() {
        // Gathered where it is: what moves is all that the tensor is a part of.
        return in_place(&tensor.force_contiguous()?.to_device(&Device::Cpu)?, read);
    }
    if !tensor.is_contiguous() {
        return in_place(&tensor.contiguous()?, read);
    }
    in_place(tensor, read)
}

fn in_place<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(read(&values[start..end])),
        _ => Err(Error::invalid(format!(
            "expected an f32 tensor, found {:?} {:?} on {:?}",
            tensor.dtype(),
            tensor.shape(),
            tensor.device().location()
        ))),
    }
}

/// Whether the loops here can be used on this tensor.
pub fn on_cpu_f32(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == candle_core::DType::F32
}
