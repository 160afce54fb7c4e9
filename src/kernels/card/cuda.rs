//! An NVIDIA GPU: the kernels as the build embedded them, launched on candle's own stream.

use candle_core::{
    CudaDevice, Device,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaSlice, DevicePtr, LaunchConfig, PushKernelArg},
    },
};

use super::{Card, Kernel, Memory, Shape};
use crate::error::{Error, Result};

/// PTX of each file, which the driver compiles for its card when a kernel of it is first used.
const FILES: [(&str, &str); 7] = [
    ("decode", include_str!(concat!(env!("OUT_DIR"), "/decode.ptx"))),
    ("encode", include_str!(concat!(env!("OUT_DIR"), "/encode.ptx"))),
    ("losses", include_str!(concat!(env!("OUT_DIR"), "/losses.ptx"))),
    ("mask", include_str!(concat!(env!("OUT_DIR"), "/mask.ptx"))),
    ("paths", include_str!(concat!(env!("OUT_DIR"), "/paths.ptx"))),
    ("ranks", include_str!(concat!(env!("OUT_DIR"), "/ranks.ptx"))),
    ("select", include_str!(concat!(env!("OUT_DIR"), "/select.ptx"))),
];

/// A GPU that candle has opened.
pub struct Cuda(CudaDevice);

impl Cuda {
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self(device.as_cuda_device()?.clone()))
    }
}

fn slice(memory: &Memory) -> Result<&CudaSlice<u8>> {
    memory.owner.downcast_ref().ok_or_else(|| Error::invalid("memory of another device was given to a GPU"))
}

fn slice_mut(memory: &mut Memory) -> Result<&mut CudaSlice<u8>> {
    memory.owner.downcast_mut().ok_or_else(|| Error::invalid("memory of another device was given to a GPU"))
}

impl Card for Cuda {
    fn allocate(&self, bytes: usize) -> Result<Memory> {
        // SAFETY: every pattern of bits is a byte; whoever reads has written before.
        let owner = unsafe { self.0.alloc::<u8>(bytes)? };
        let stream = self.0.cuda_stream();
        let address = owner.device_ptr(&stream).0;
        Ok(Memory { address, bytes, owner: Box::new(owner) })
    }

    fn write(&self, to: &mut Memory, from: &[u8]) -> Result<()> {
        Ok(self.0.memcpy_htod(from, slice_mut(to)?)?)
    }

    fn read(&self, from: &Memory, to: &mut [u8]) -> Result<()> {
        let stream = self.0.cuda_stream();
        stream.memcpy_dtoh(slice(from)?, to).w()?;
        // The copy is done when the stream is.
        Ok(stream.synchronize().w()?)
    }

    fn clear(&self, memory: &mut Memory) -> Result<()> {
        Ok(self.0.cuda_stream().memset_zeros(slice_mut(memory)?).w()?)
    }

    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
        let ptx = FILES.iter().find(|(file, _)| *file == kernel.file).map(|(_, ptx)| *ptx);
        let ptx = ptx.ok_or_else(|| Error::invalid(format!("no kernels of {} are in this program", kernel.file)))?;
        let module = format!("prunelens-{}", kernel.file);
        let function = self.0.get_or_load_custom_func(&kernel.name, &module, ptx)?;
        let mut builder = function.builder();
        // The driver takes as many bytes of a word as the kernel declares; the low ones come first.
        for argument in arguments {
            builder.arg(argument);
        }
        let config = LaunchConfig {
            grid_dim: (shape.blocks[0], shape.blocks[1], 1),
            block_dim: (shape.threads, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: as the caller promises.
        unsafe { builder.launch(config).w()? };
        Ok(())
    }
}
