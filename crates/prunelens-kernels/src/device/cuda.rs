//! An NVIDIA GPU: the kernels as the build embedded them, launched on candle's own stream.

use std::{
    collections::HashMap,
    ffi::c_void,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Storage, Tensor,
    cuda_backend::{CudaDType, WrapErr},
    op::BackpropOp,
};
use cudarc::{
    cublas::{
        result::gemm_ex,
        sys::{
            cublasComputeType_t, cublasGemmAlgo_t, cublasMath_t, cublasOperation_t, cublasSetMathMode, cudaDataType,
        },
    },
    driver::{
        CudaEvent, CudaFunction, CudaModule, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PinnedHostSlice,
        PushKernelArg,
        sys::{CUevent_flags, CUfunction_attribute_enum},
    },
    nvrtc::Ptx,
};
use half::{bf16, f16};

use super::{Backend, Buffer, Float, Kernel, Memory, Shape, Staging};
use crate::error::{Error, Result};

/// Code of each file, for the GPUs that the build names and, as PTX, for those that it does not.
const FILES: [(&str, &[u8]); 16] = [
    ("attention", include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin"))),
    ("bits", include_bytes!(concat!(env!("OUT_DIR"), "/bits.fatbin"))),
    ("decode", include_bytes!(concat!(env!("OUT_DIR"), "/decode.fatbin"))),
    ("encode", include_bytes!(concat!(env!("OUT_DIR"), "/encode.fatbin"))),
    ("layers", include_bytes!(concat!(env!("OUT_DIR"), "/layers.fatbin"))),
    ("losses", include_bytes!(concat!(env!("OUT_DIR"), "/losses.fatbin"))),
    ("mask", include_bytes!(concat!(env!("OUT_DIR"), "/mask.fatbin"))),
    ("nearest", include_bytes!(concat!(env!("OUT_DIR"), "/nearest.fatbin"))),
    ("paths", include_bytes!(concat!(env!("OUT_DIR"), "/paths.fatbin"))),
    ("prune", include_bytes!(concat!(env!("OUT_DIR"), "/prune.fatbin"))),
    ("ragged", include_bytes!(concat!(env!("OUT_DIR"), "/ragged.fatbin"))),
    ("rules", include_bytes!(concat!(env!("OUT_DIR"), "/rules.fatbin"))),
    ("select", include_bytes!(concat!(env!("OUT_DIR"), "/select.fatbin"))),
    ("spread", include_bytes!(concat!(env!("OUT_DIR"), "/spread.fatbin"))),
    ("texts", include_bytes!(concat!(env!("OUT_DIR"), "/texts.fatbin"))),
    ("train", include_bytes!(concat!(env!("OUT_DIR"), "/train.fatbin"))),
];

/// A GPU that candle has opened.
pub struct Cuda {
    device: Device,
    cuda: CudaDevice,
    /// What is loaded of [`FILES`], by name.
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    /// Kernels that were launched before.
    functions: RwLock<HashMap<Kernel, CudaFunction>>,
    /// After everything that was launched before the last call of `await_previous`.
    launched: Mutex<Option<CudaEvent>>,
}

impl Cuda {
    /// Of a device of candle's, which must be a GPU: the same each time, with the kernels that were loaded for it.
    pub fn of(device: &Device) -> Result<Arc<Self>> {
        static OPENED: Mutex<Vec<Arc<Cuda>>> = Mutex::new(Vec::new());
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cuda) = opened.iter().find(|cuda| cuda.device.same_device(device)) {
            return Ok(cuda.clone());
        }
        let cuda = Arc::new(Self::new(device)?);
        opened.push(cuda.clone());
        Ok(cuda)
    }

    fn new(device: &Device) -> Result<Self> {
        let cuda = device.as_cuda_device()?.clone();
        // Products in 16 bits whose sums the library takes in pieces are rounded once, not piece by piece.
        let mode = cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: candle's own handle, which lives as long as its device.
        unsafe { cublasSetMathMode(*cuda.cublas_handle().handle(), mode) }
            .result()
            .map_err(candle_core::Error::wrap)?;
        Ok(Self {
            device: device.clone(),
            cuda,
            modules: Mutex::default(),
            functions: RwLock::default(),
            launched: Mutex::default(),
        })
    }

    fn module(&self, file: &'static str) -> Result<Arc<CudaModule>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(file) {
            return Ok(module.clone());
        }
        let code = FILES.iter().find(|(name, _)| *name == file).map(|(_, code)| *code);
        let code = code.ok_or_else(|| Error::invalid(format!("no kernels of {file} are in this program")))?;
        let module = self.cuda.cuda_stream().context().load_module(Ptx::from_binary(code.to_vec())).w()?;
        modules.insert(file, module.clone());
        Ok(module)
    }

    /// A kernel, allowed what it shares: more than a GPU gives unasked only where it says so itself.
    fn function(&self, kernel: Kernel, shared: u32) -> Result<CudaFunction> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&kernel) {
            return Ok(function.clone());
        }
        drop(functions);
        let function = self.module(kernel.file)?.load_function(&kernel.to_string()).w()?;
        if shared > 0 {
            let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared as i32).w()?;
        }
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(kernel, function.clone());
        Ok(function)
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

/// Memory of the processor that the GPU reads by itself.
pub struct PageLocked {
    memory: PinnedHostSlice<u8>,
    device: CudaDevice,
    /// After the last copy from it.
    sent: Option<CudaEvent>,
}

impl PageLocked {
    fn new(device: &CudaDevice, bytes: usize) -> Result<Self> {
        // SAFETY: it is filled with zeros before anybody reads it.
        let mut memory = unsafe { device.cuda_stream().context().alloc_pinned_with_flags(bytes, 0).w()? };
        memory.as_mut_slice().w()?.fill(0);
        Ok(Self { memory, device: device.clone(), sent: None })
    }

    /// To be filled, once the GPU has read what it was sent.
    pub fn bytes(&mut self) -> Result<&mut [u8]> {
        self.sent.take().map_or(Ok(()), |sent| sent.synchronize()).w()?;
        Ok(self.memory.as_mut_slice().w()?)
    }

    /// Its first bytes to memory, from a byte on.
    pub fn send(&mut self, bytes: usize, to: &mut Memory, start: usize) -> Result<()> {
        let from = self.memory.as_slice().w()?.get(..bytes).ok_or_else(foreign)?;
        let to = slice_mut(to)?;
        if to.context() != self.memory.context() {
            return Err(foreign());
        }
        let mut to = to.try_slice_mut(start..start + bytes).ok_or_else(foreign)?;
        self.device.memcpy_htod(from, &mut to)?;
        self.sent = Some(self.device.cuda_stream().record_event(None).w()?);
        Ok(())
    }
}

impl Drop for PageLocked {
    fn drop(&mut self) {
        // Whoever gave it up does not read what was sent; memory in use must not go.
        let _ = self.sent.take().map(|sent| sent.synchronize());
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

    fn write(&self, to: &mut Memory, start: usize, from: &[u8]) -> Result<()> {
        let mut to = slice_mut(to)?.try_slice_mut(start..start + from.len()).ok_or_else(foreign)?;
        Ok(self.cuda.memcpy_htod(from, &mut to)?)
    }

    /// Without memory to lock, what is written is copied once more on its way.
    fn staging(&self, bytes: usize) -> Result<Staging> {
        Ok(PageLocked::new(&self.cuda, bytes).map_or_else(|_| Staging::plain(bytes), Staging::Locked))
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

    /// cuBLAS counts rows and columns the other way round: there it is the transpose of `weight [k, m]`, times `x [k, n]`.
    fn products(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let ((n, k), (m, width)) = (x.dims2()?, weight.dims2()?);
        if k != width {
            return Err(Error::invalid(format!("a product of {n} x {k} with {m} x {width} numbers")));
        }
        let int = |size: usize| i32::try_from(size).map_err(|_| Error::invalid(format!("{size} rows are too many")));
        let (m_int, n_int, k_int) = (int(m)?, int(n)?, int(k)?);
        let (x, weight) = (Buffer::<bf16>::of(self, x)?, Buffer::<bf16>::of(self, weight)?);
        let out = Buffer::<f32>::new(self, n * m)?;
        let (one, zero) = (1.0_f32, 0.0_f32);
        let blas = self.cuda.cublas_handle();
        // SAFETY: the sizes are those of the three matrices, which lie one number after the other; sums are in the type of the
        // two factors, which are read before this returns.
        unsafe {
            gemm_ex(
                *blas.handle(),
                cublasOperation_t::CUBLAS_OP_T,
                cublasOperation_t::CUBLAS_OP_N,
                m_int,
                n_int,
                k_int,
                (&raw const one).cast(),
                weight.address() as *const c_void,
                cudaDataType::CUDA_R_16BF,
                k_int,
                x.address() as *const c_void,
                cudaDataType::CUDA_R_16BF,
                k_int,
                (&raw const zero).cast(),
                out.address() as *mut c_void,
                cudaDataType::CUDA_R_32F,
                m_int,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
            )
            .map_err(candle_core::Error::wrap)?;
        }
        out.into_tensor(self, &[n, m])
    }

    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
        let stream = self.cuda.cuda_stream();
        // This thread may have worked on another GPU before.
        stream.context().bind_to_thread().w()?;
        let function = self.function(kernel, shape.shared)?;
        let mut builder = stream.launch_builder(&function);
        // The driver takes as many bytes of a word as the kernel declares; the low ones come first.
        for argument in arguments {
            builder.arg(argument);
        }
        let config = LaunchConfig {
            grid_dim: (shape.blocks[0], shape.blocks[1], 1),
            block_dim: (shape.threads, 1, 1),
            shared_mem_bytes: shape.shared,
        };
        // SAFETY: as the caller promises.
        unsafe { builder.launch(config).w()? };
        Ok(())
    }

    /// The program's own kernels, then candle's, which are PTX, by a little of what models do.
    fn warm(&self) -> Result<()> {
        FILES.iter().try_for_each(|(file, _)| self.module(file).map(drop))?;
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = Tensor::ones((4, 4), DType::F32, &self.device)?.to_dtype(dtype)?;
            let x = x.matmul(&x.t()?.contiguous()?)?.broadcast_add(&x.narrow(0, 0, 1)?)?.affine(0.5, 0.0)?.sqr()?;
            let ids = Tensor::zeros(2, DType::U32, &self.device)?;
            let x = Tensor::cat(&[&x.index_select(&ids, 0)?, &x], 0)?.to_dtype(DType::F32)?.exp()?;
            let chosen = x.ge(&x.mean_keepdim(1)?.broadcast_as(x.shape())?)?.where_cond(&x, &x.zeros_like()?)?;
            drop([chosen.sum(1)?, chosen.max(1)?, chosen.argmax(1)?]);
        }
        let x = Tensor::ones((8, 8), DType::BF16, &self.device)?;
        self.products(&x, &x)?;
        Ok(self.cuda.cuda_stream().synchronize().w()?)
    }

    fn await_previous(&self) -> Result<()> {
        // Who waits leaves the processor to others.
        let flags = Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        let event = self.cuda.cuda_stream().record_event(flags).w()?;
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
