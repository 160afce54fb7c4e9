//! A GPU that is in use.

use candle_core::{Device, DeviceLocation};

use super::{Places, libraries};
use crate::{error::of_candle, panics::catch_panic};

/// What is known of a device once it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// As the driver calls it.
    pub name: String,
    /// All of its memory.
    pub total_bytes: u64,
    /// For this program: what it holds for later counts.
    pub free_bytes: u64,
}

impl Opened {
    /// "NVIDIA H200, 140 GiB".
    pub fn label(&self) -> String {
        format!("{}, {:.0} GiB", self.name, self.total_bytes as f64 / (1_u64 << 30) as f64)
    }
}

/// "cpu" or "cuda:0": a device as `--device` names it.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// What decides how sums round: instructions of the processor, which has a part in most of them, the kind of GPU, and the library
/// that chooses its products' kernels.
pub fn arithmetic(device: &Device) -> String {
    let level = crate::simd::level();
    if device.is_cpu() {
        return format!("cpu {level}");
    }
    let gpu = opened(device).map_or_else(|| name(device), |gpu| gpu.name);
    format!(
        "cpu {level}, {gpu}, cuBLAS {}",
        cublas(device).map_or_else(|| "unknown".into(), |version| version.to_string())
    )
}

/// Open GPU `n`, or say why it cannot be. Its libraries are loaded first, from wherever they are: the bindings look on the
/// loader's path alone and may panic without them, and already to put their own error into words takes the driver.
pub fn open(n: usize, places: &Places) -> Result<Device, String> {
    // The toolkit's take long to load: not where they are of no use.
    if !libraries::driver() {
        return Err(libraries::NO_DRIVER.into());
    }
    let missing = libraries::load(places).missing;
    if !missing.is_empty() {
        return Err(missing.join("; "));
    }
    match catch_panic(|| device(n).map_err(|e| of_candle(&e))) {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(why)) | Err(why) => Err(crate::text::shorten(&why, 200)),
    }
}

/// None for the processor, and for a GPU that does not answer.
#[cfg(feature = "cuda")]
pub fn opened(device: &Device) -> Option<Opened> {
    cuda::opened(device)
}

/// None: this program was built without CUDA.
#[cfg(not(feature = "cuda"))]
pub fn opened(_: &Device) -> Option<Opened> {
    None
}

/// The version of cuBLAS as the library gives it, 130100 for 13.1.
#[cfg(feature = "cuda")]
fn cublas(device: &Device) -> Option<i32> {
    cuda::cublas(device)
}

#[cfg(not(feature = "cuda"))]
fn cublas(_: &Device) -> Option<i32> {
    None
}

/// Give back what the program holds of a GPU's memory and does not use.
pub fn release(device: &Device) {
    #[cfg(feature = "cuda")]
    cuda::release(device);
    let _ = device;
}

#[cfg(feature = "cuda")]
use cuda::device;

#[cfg(not(feature = "cuda"))]
fn device(n: usize) -> candle_core::Result<Device> {
    Device::new_cuda(n)
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::{
        collections::HashMap,
        sync::{Arc, Mutex, PoisonError},
    };

    use candle_core::{Device, Result, bail, cuda_backend::WrapErr};
    use cudarc::{
        cublas::sys::cublasGetVersion_v2,
        driver::{
            CudaContext,
            result::{device::get_default_mem_pool, mem_pool},
            sys::{CUmemPool_attribute as Attribute, CUmemoryPool},
        },
    };

    use super::{Opened, catch_panic};

    /// The oldest GPUs that the kernels are made for.
    const CAPABILITY: i32 = 8;

    /// GPUs are opened once: to one that is opened anew, all kernels are new.
    pub fn device(n: usize) -> Result<Device> {
        static OPENED: Mutex<Option<HashMap<usize, Device>>> = Mutex::new(None);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.get_or_insert_default();
        if let Some(device) = opened.get(&n) {
            return Ok(device.clone());
        }
        let device = open(n)?;
        opened.insert(n, device.clone());
        Ok(device)
    }

    /// One stream for all threads. By itself candle takes one of each thread's own, and nothing would order what one thread
    /// writes before what another reads.
    fn open(n: usize) -> Result<Device> {
        let device = Device::new_cuda_with_stream(n)?;
        let cuda = device.as_cuda_device()?;
        // SAFETY: nothing of this device is ever used on another stream, so there is nothing to keep track of.
        unsafe { cuda.disable_event_tracking() };
        let context = cuda.cuda_stream().context().clone();
        let (major, minor) = context.compute_capability().w()?;
        if major < CAPABILITY {
            let name = context.name().w()?;
            bail!("{name} has compute capability {major}.{minor}, the oldest that will do is {CAPABILITY}.0")
        }
        // Where there are no pools of memory, there is nothing to keep.
        let _ = keep_memory(&context);
        Ok(device)
    }

    /// What is freed stays with the program for what it allocates next. By itself the driver takes it back whenever the
    /// program waits for results, and maps it anew afterwards: at every step of the slider.
    fn keep_memory(context: &CudaContext) -> Result<()> {
        let mut all = u64::MAX;
        let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool is the device's own, and the attribute a number of 64 bits.
        unsafe { mem_pool::set_attribute(pool(context)?, attribute, (&raw mut all).cast()).w() }
    }

    fn pool(context: &CudaContext) -> Result<CUmemoryPool> {
        // SAFETY: the device is that of an open context.
        unsafe { get_default_mem_pool(context.cu_device()).w() }
    }

    /// Where it fails there is nothing to give back.
    pub fn release(device: &Device) {
        let trim = || -> Result<()> {
            let context = device.as_cuda_device()?.cuda_stream().context().clone();
            device.synchronize()?;
            // SAFETY: the pool is the device's own.
            unsafe { mem_pool::trim_to(pool(&context)?, 0).w() }
        };
        let _ = catch_panic(trim);
    }

    pub fn cublas(device: &Device) -> Option<i32> {
        let blas = device.as_cuda_device().ok()?.cublas_handle();
        let mut version = 0;
        // SAFETY: candle's own handle, which lives as long as its device; the version is one whole number.
        let ask = || unsafe { cublasGetVersion_v2(*blas.handle(), &raw mut version) }.result().ok();
        catch_panic(ask).ok()??;
        Some(version)
    }

    /// Bytes that the pool holds and nothing uses.
    fn kept(context: &CudaContext) -> Result<u64> {
        let pool = pool(context)?;
        let ask = |attribute| {
            let mut bytes = 0_u64;
            // SAFETY: as above; both attributes asked for are numbers of 64 bits.
            unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).w()? };
            Result::Ok(bytes)
        };
        let held = ask(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        Ok(held.saturating_sub(ask(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?))
    }

    pub fn opened(device: &Device) -> Option<Opened> {
        let context: Arc<CudaContext> = device.as_cuda_device().ok()?.cuda_stream().context().clone();
        let ask = || Some((context.name().ok()?, context.mem_get_info().ok()?, kept(&context).unwrap_or(0)));
        let (name, (free, total), kept) = catch_panic(ask).ok()??;
        let free_bytes = (free as u64).saturating_add(kept);
        Some(Opened { name: crate::text::safe(&name), total_bytes: total as u64, free_bytes })
    }
}
