//! An NVIDIA GPU: the kernels as the build embedded them, launched on candle's own stream.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Storage, Tensor,
    cuda_backend::{CudaDType, WrapErr},
    op::BackpropOp,
};
use cudarc::driver::{CudaEvent, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys::CUevent_flags};
use half::{bf16, f16};

use super::{Backend, Float, Kernel, Memory, Shape};
use crate::error::{Error, Result};

/// PTX of each file, which the driver compiles for its GPU when a kernel of it is first used.
const FILES: [(&str, &str); 12] = [
    ("decode", include_str!(concat!(env!("OUT_DIR"), "/decode.ptx"))),
    ("encode", include_str!(concat!(env!("OUT_DIR"), "/encode.ptx"))),
    ("layers", include_str!(concat!(env!("OUT_DIR"), "/layers.ptx"))),
    ("losses", include_str!(concat!(env!("OUT_DIR"), "/losses.ptx"))),
    ("mask", include_str!(concat!(env!("OUT_DIR"), "/mask.ptx"))),
    ("nearest", include_str!(concat!(env!("OUT_DIR"), "/nearest.ptx"))),
    ("paths", include_str!(concat!(env!("OUT_DIR"), "/paths.ptx"))),
    ("prune", include_str!(concat!(env!("OUT_DIR"), "/prune.ptx"))),
    ("ragged", include_str!(concat!(env!("OUT_DIR"), "/ragged.ptx"))),
    ("rules", include_str!(concat!(env!("OUT_DIR"), "/rules.ptx"))),
    ("select", include_str!(concat!(env!("OUT_DIR"), "/select.ptx"))),
    ("train", include_str!(concat!(env!("OUT_DIR"), "/train.ptx"))),
];

/// A GPU that candle has opened.
pub struct Cuda {
    device: Device,
    cuda: CudaDevice,
    /// After everything that was launched before the last call of `pace`.
    launched: Mutex<Option<CudaEvent>>,
}

impl Cuda {
    /// On a device of candle's, which must be a GPU.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self { device: device.clone(), cuda: device.as_cuda_device()?.clone(), launched: Mutex::default() })
    }

    /// Where the numbers of a tensor lie.
    fn address<T: Float + CudaDType + DeviceRepr>(&self, tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(Error::invalid("a kernel needs a contiguous tensor on the GPU"));
        };
        let slice = storage.as_cuda_slice::<T>()?.slice(start..end);
        Ok(slice.device_ptr(&self.cuda.cuda_stream()).0)
    }

    /// The same memory as numbers of another type.
    fn storage<T: Float + CudaDType>(&self, bytes: CudaSlice<u8>, len: usize) -> CudaStorage {
        let address = bytes.leak();
        // SAFETY: the memory is this stream's, nobody else's any more, aligned as every allocation is, and of `len` numbers;
        // every pattern of bits is a number.
        let slice = unsafe { self.cuda.cuda_stream().upgrade_device_ptr::<T>(address, len) };
        CudaStorage::wrap_cuda_slice(slice, self.cuda.clone())
    }
}

fn foreign() -> Error {
    Error::invalid("memory of another device was given to a GPU")
}

fn slice(memory: &Memory) -> Result<&CudaSlice<u8>> {
    memory.owner.downcast_ref().ok_or_else(foreign)
}

fn slice_mut(memory: &mut Memory) -> Result<&mut CudaSlice<u8>> {
    memory.owner.downcast_mut().ok_or_else(foreign)
}

impl Backend for Cuda {
    fn device(&self) -> &Device {
        &self.device
    }

    fn allocate(&self, bytes: usize) -> Result<Memory> {
        // SAFETY: every pattern of bits is a byte; whoever reads has written before.
        let owner = unsafe { self.cuda.alloc::<u8>(bytes)? };
        let stream = self.cuda.cuda_stream();
        let address = owner.device_ptr(&stream).0;
        Ok(Memory { address, bytes, owner: Box::new(owner) })
    }

    fn write(&self, to: &mut Memory, from: &[u8]) -> Result<()> {
        Ok(self.cuda.memcpy_htod(from, slice_mut(to)?)?)
    }

    fn read(&self, from: &Memory, start: usize, to: &mut [u8]) -> Result<()> {
        let stream = self.cuda.cuda_stream();
        let from = slice(from)?.try_slice(start..start + to.len()).ok_or_else(foreign)?;
        stream.memcpy_dtoh(&from, to).w()?;
        // The copy is done when the stream is.
        Ok(stream.synchronize().w()?)
    }

    fn clear(&self, memory: &mut Memory) -> Result<()> {
        Ok(self.cuda.cuda_stream().memset_zeros(slice_mut(memory)?).w()?)
    }

    fn memory_of(&self, tensor: &Tensor) -> Result<Memory> {
        let address = match tensor.dtype() {
            DType::BF16 => self.address::<bf16>(tensor),
            DType::F16 => self.address::<f16>(tensor),
            _ => self.address::<f32>(tensor),
        };
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        Ok(Memory { address: address?, bytes, owner: Box::new(tensor.clone()) })
    }

    fn tensor(&self, memory: Memory, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let bytes: CudaSlice<u8> = *memory.owner.downcast().map_err(|_| foreign())?;
        let len = shape.iter().product();
        let storage = match dtype {
            DType::BF16 => self.storage::<bf16>(bytes, len),
            DType::F16 => self.storage::<f16>(bytes, len),
            _ => self.storage::<f32>(bytes, len),
        };
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }

    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
        let ptx = FILES.iter().find(|(file, _)| *file == kernel.file).map(|(_, ptx)| *ptx);
        let ptx = ptx.ok_or_else(|| Error::invalid(format!("no kernels of {} are in this program", kernel.file)))?;
        let module = format!("prunelens-{}", kernel.file);
        let function = self.cuda.get_or_load_custom_func(&kernel.name, &module, ptx)?;
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

    fn await_previous(&self) -> Result<()> {
        let event = self.cuda.cuda_stream().record_event(None).w()?;
        let earlier = self.launched.lock().unwrap_or_else(PoisonError::into_inner).replace(event);
        Ok(earlier.map_or(Ok(()), |event| event.synchronize()).w()?)
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let stream = self.cuda.cuda_stream();
        let event = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w();
        let start = event()?;
        work()?;
        Ok(f64::from(start.elapsed_ms(&event()?).w()?))
    }
}
