//! The kernels compiled for the processor: a card for machines that have none.

mod parameters;

use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::{bf16, f16};
use prunelens_core::error::Result;
use prunelens_kernels::device::{Backend, Kernel, Memory, Shape};

use super::poison::poisoned;

type Launch = unsafe extern "C" fn(*mut c_void, *const u32, u32, u32, *const u64);

/// The library and its launcher. Blocks share static memory, so one launch runs at a time.
struct Loaded {
    library: usize,
    launch: Launch,
    running: Mutex<()>,
}

const KERNELS: &str = "crates/prunelens-kernels/src/cuda";
/// Copies of the library, each with static memory of its own: tests beside each other do not wait for each other.
const COPIES: usize = 2;

/// The library, and which of the devices made of it this is.
#[derive(Clone)]
pub struct StandIn {
    copies: Arc<[Loaded; COPIES]>,
    /// How many parameters its kernels have.
    declared: Arc<BTreeMap<String, usize>>,
    number: usize,
}

/// What is allocated, from its first byte: up to where, and on which device.
static ALLOCATED: Mutex<BTreeMap<u64, (u64, usize)>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory of a device, eight bytes at a time, so that every number is aligned.
struct Owned(Vec<u64>);

impl Owned {
    fn new(bytes: usize, device: usize) -> Self {
        // Never empty: an address is of one thing only.
        let owned = Self(vec![0; bytes.div_ceil(8).max(1)]);
        lock(&ALLOCATED).insert(owned.address(), (owned.address() + 8 * owned.0.len() as u64, device));
        owned
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        lock(&ALLOCATED).remove(&self.address());
    }
}

/// The device on whose memory an address lies, if it is one.
fn device_of(address: u64) -> Option<usize> {
    let allocated = lock(&ALLOCATED);
    let (_, (end, device)) = allocated.range(..=address).next_back()?;
    (address < *end).then_some(*device)
}

/// Where the library was built, or why it could not be.
fn build() -> Result<PathBuf, String> {
    // The tests may run elsewhere than they were built, without the folders of the build.
    let out = std::env::temp_dir().join(format!("prunelens-kernels-{}.so", std::process::id()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("tests/support/stand_in/card.cpp");
    for path in [&source, &root.join(KERNELS)] {
        if !path.exists() {
            return Err(format!("{} is not on this machine", path.display()));
        }
    }
    // Nothing but the kernels can be seen from outside: the copies of the library would share it.
    let flags =
        ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-fvisibility=hidden"];
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
    // A file that is loaded already is not loaded again: each is of another name.
    let copies = std::array::from_fn(|at| {
        let copy = path.with_extension(format!("{at}.so"));
        std::fs::copy(&path, &copy).unwrap();
        load(&copy)
    });
    let _ = std::fs::remove_file(path);
    let declared = parameters::declared(&Path::new(env!("CARGO_MANIFEST_DIR")).join(KERNELS));
    Ok(StandIn { copies: Arc::new(copies), declared: Arc::new(declared), number: 0 })
}

fn load(path: &Path) -> Loaded {
    let name = CString::new(path.display().to_string()).unwrap();
    // SAFETY: a library without initialisers, that stays loaded.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    let _ = std::fs::remove_file(path);
    assert!(!library.is_null(), "the kernels compiled for the processor do not load");
    // SAFETY: the name is a C string, and the function's type is that of `backend.cpp`.
    let launch = unsafe { libc::dlsym(library, c"card_launch".as_ptr()) };
    assert!(!launch.is_null(), "card_launch is missing");
    // SAFETY: as above.
    let launch = unsafe { std::mem::transmute::<*mut c_void, Launch>(launch) };
    Loaded { library: library as usize, launch, running: Mutex::new(()) }
}

/// The first of them.
pub fn stand_in() -> Option<Arc<dyn Backend>> {
    device(0)
}

/// One of several that share no memory: what one allocated is refused by the others. Built once for all tests; none where there
/// is no compiler, which is then said.
pub fn device(number: usize) -> Option<Arc<dyn Backend>> {
    static BUILT: OnceLock<Result<StandIn, String>> = OnceLock::new();
    match BUILT.get_or_init(open) {
        Ok(built) => Some(poisoned(Arc::new(StandIn { number, ..built.clone() }))),
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

impl StandIn {
    /// What is an address is one of its own memory, or of a tensor.
    fn expect_own(&self, word: u64) {
        if let Some(device) = device_of(word) {
            assert_eq!(device, self.number, "memory of another device was given to this one");
        }
    }
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
        let owner = Owned::new(bytes, self.number);
        Ok(Memory { address: owner.address(), bytes, owner: Box::new(owner) })
    }

    fn write(&self, to: &mut Memory, start: usize, from: &[u8]) -> Result<()> {
        assert!(start + from.len() <= to.bytes);
        self.expect_own(to.address);
        // SAFETY: the memory is as long, and its own.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), (to.address as *mut u8).add(start), from.len()) };
        Ok(())
    }

    fn read(&self, from: &Memory, start: usize, to: &mut [u8]) -> Result<()> {
        assert!(start + to.len() <= from.bytes);
        self.expect_own(from.address);
        assert!(from.owner.is::<Owned>(), "a tensor's memory is not read as a buffer is");
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
        arguments.iter().for_each(|word| self.expect_own(*word));
        // One that nobody uses, else whichever is free first, as far as that can be told.
        let free = |copy: &&Loaded| !matches!(copy.running.try_lock(), Err(TryLockError::WouldBlock));
        let kernel = kernel.to_string();
        let copy = self.copies.iter().find(free).unwrap_or(&self.copies[kernel.len() % COPIES]);
        let _one = lock(&copy.running);
        let name = CString::new(kernel.clone()).unwrap();
        // SAFETY: the library stays loaded.
        let function = unsafe { libc::dlsym(copy.library as *mut c_void, name.as_ptr()) };
        assert!(!function.is_null(), "no kernel {kernel}");
        let declared = parameters::of(&self.declared, &kernel);
        assert_eq!(declared, Some(arguments.len()), "arguments of {kernel}");
        // The launcher passes as many words as any kernel takes.
        let mut words = [0_u64; 16];
        words[..arguments.len()].copy_from_slice(arguments);
        // SAFETY: as the caller promises.
        unsafe { (copy.launch)(function, shape.blocks.as_ptr(), shape.threads, shape.shared, words.as_ptr()) };
        Ok(())
    }
}
