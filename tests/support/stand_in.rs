//! The kernels compiled for the processor: a card for machines that have none.

use std::{
    ffi::{CString, c_void},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::{bf16, f16};
use prunelens_core::error::Result;
use prunelens_kernels::device::{Backend, Kernel, Memory, Shape};

use super::poison::poisoned;

type Launch = unsafe extern "C" fn(*mut c_void, *const u32, u32, *const u64);

/// The library and its launcher; blocks share static memory, so one launch runs at a time.
pub struct StandIn {
    library: usize,
    launch: Launch,
    one_at_a_time: Mutex<()>,
}

/// Where the library was built, or why it could not be.
fn build() -> Result<PathBuf, String> {
    // The tests may run elsewhere than they were built, without the folders of the build.
    let out = std::env::temp_dir().join(format!("prunelens-kernels-{}.so", std::process::id()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("tests/support/stand_in/card.cpp");
    for path in [&source, &root.join("crates/prunelens-kernels/src/cuda")] {
        if !path.exists() {
            return Err(format!("{} is not on this machine", path.display()));
        }
    }
    let flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"];
    let output = Command::new("c++").args(flags).arg("-o").arg(&out).arg(source).output();
    let output = output.map_err(|e| format!("no C++ compiler (c++): {e}"))?;
    if !output.status.success() && !compiles_at_all() {
        return Err("the C++ compiler (c++) compiles nothing: its headers may be missing".into());
    }
    // A compiler that works must take them: anything else is a fault of the kernels.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(out)
}

/// Whether it compiles what needs nothing but the standard library.
fn compiles_at_all() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("nothing.cpp");
    std::fs::write(&source, "#include <cmath>\nfloat f(float x) { return std::sqrt(x); }\n").unwrap();
    let flags = ["-std=c++17", "-shared", "-fPIC", "-o"];
    let compile = Command::new("c++").args(flags).arg(folder.path().join("nothing.so")).arg(&source).output();
    compile.is_ok_and(|output| output.status.success())
}

fn open() -> Result<StandIn, String> {
    let path = build()?;
    let name = CString::new(path.display().to_string()).map_err(|e| e.to_string())?;
    // SAFETY: a library without initialisers, that stays loaded.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    let _ = std::fs::remove_file(path);
    assert!(!library.is_null(), "the kernels compiled for the processor do not load");
    // SAFETY: the name is a C string, and the function's type is that of `backend.cpp`.
    let launch = unsafe { libc::dlsym(library, c"card_launch".as_ptr()) };
    assert!(!launch.is_null(), "card_launch is missing");
    // SAFETY: as above.
    let launch = unsafe { std::mem::transmute::<*mut c_void, Launch>(launch) };
    Ok(StandIn { library: library as usize, launch, one_at_a_time: Mutex::new(()) })
}

/// Built once for all tests; none where there is no compiler, which is then said.
pub fn stand_in() -> Option<Arc<dyn Backend>> {
    static BUILT: OnceLock<Result<Arc<StandIn>, String>> = OnceLock::new();
    match BUILT.get_or_init(|| open().map(Arc::new)) {
        Ok(backend) => Some(poisoned(backend.clone())),
        Err(why) => {
            let needed = std::env::var_os("PRUNELENS_NEEDS_COMPILER").is_some();
            assert!(!needed, "PRUNELENS_NEEDS_COMPILER is set, and the kernels cannot be compiled: {why}");
            println!("skipped: {why}");
            None
        }
    }
}

/// Numbers out of memory.
fn numbers<T: Copy>(memory: &Memory, len: usize) -> Vec<T> {
    assert!(memory.bytes >= len * size_of::<T>());
    // SAFETY: the memory is as long, and aligned for every number.
    unsafe { std::slice::from_raw_parts(memory.address as *const T, len) }.to_vec()
}

impl Backend for StandIn {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn memory_of(&self, tensor: &Tensor) -> Result<Memory> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, _) = layout.contiguous_offsets().expect("a contiguous tensor");
        let address = match &*storage {
            Storage::Cpu(CpuStorage::F32(values)) => values[start..].as_ptr() as u64,
            Storage::Cpu(CpuStorage::BF16(values)) => values[start..].as_ptr() as u64,
            Storage::Cpu(CpuStorage::F16(values)) => values[start..].as_ptr() as u64,
            _ => panic!("a tensor of {:?}", tensor.dtype()),
        };
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        Ok(Memory { address, bytes, owner: Box::new(tensor.clone()) })
    }

    fn tensor(&self, memory: Memory, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        Ok(match dtype {
            DType::BF16 => Tensor::from_vec(numbers::<bf16>(&memory, len), shape, &Device::Cpu)?,
            DType::F16 => Tensor::from_vec(numbers::<f16>(&memory, len), shape, &Device::Cpu)?,
            _ => Tensor::from_vec(numbers::<f32>(&memory, len), shape, &Device::Cpu)?,
        })
    }

    fn await_previous(&self) -> Result<()> {
        Ok(())
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let started = std::time::Instant::now();
        work()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    fn allocate(&self, bytes: usize) -> Result<Memory> {
        // Eight bytes at a time, so that every number is aligned.
        let mut owner = vec![0_u64; bytes.div_ceil(8)];
        Ok(Memory { address: owner.as_mut_ptr() as u64, bytes, owner: Box::new(owner) })
    }

    fn write(&self, to: &mut Memory, from: &[u8]) -> Result<()> {
        assert_eq!(to.bytes, from.len());
        // SAFETY: the memory is as long, and its own.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.address as *mut u8, from.len()) };
        Ok(())
    }

    fn read(&self, from: &Memory, start: usize, to: &mut [u8]) -> Result<()> {
        assert!(start + to.len() <= from.bytes);
        assert!(from.owner.is::<Vec<u64>>(), "a tensor's memory is not read as a buffer is");
        // SAFETY: the memory is as long, and the slice its own.
        unsafe { std::ptr::copy_nonoverlapping((from.address as *const u8).add(start), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn clear(&self, memory: &mut Memory) -> Result<()> {
        // SAFETY: the memory is its own.
        unsafe { std::ptr::write_bytes(memory.address as *mut u8, 0, memory.bytes) };
        Ok(())
    }

    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
        let name = CString::new(kernel.name.clone()).unwrap();
        // SAFETY: the library stays loaded.
        let function = unsafe { libc::dlsym(self.library as *mut c_void, name.as_ptr()) };
        assert!(!function.is_null(), "no kernel {}", kernel.name);
        // The launcher passes as many words as any kernel takes.
        let mut words = [0_u64; 16];
        words[..arguments.len()].copy_from_slice(arguments);
        let _one = self.one_at_a_time.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: as the caller promises.
        unsafe { (self.launch)(function, shape.blocks.as_ptr(), shape.threads, words.as_ptr()) };
        Ok(())
    }
}
