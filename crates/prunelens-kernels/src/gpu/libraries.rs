//! The libraries that a GPU needs at run time: found, loaded, and kept loaded.
//!
//! Their bindings look for them by name. A library that is loaded already is found by the name that it gives itself (its
//! SONAME) wherever it lies, so what is not on the loader's path is loaded from its file first.

use std::{
    ffi::{CStr, c_int},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{library::Library, places::Places};

/// A library by its names.
struct Needed {
    /// What it calls itself, and what its file is called in every folder that has it.
    name: &'static CStr,
    /// What its bindings try before: a toolkit's folder has this name too.
    first: &'static CStr,
    /// A function of it, by which its file is known.
    function: &'static CStr,
}

/// The driver's library comes with the driver, and with nothing else. A toolkit's `libcuda.so` is a stub.
const DRIVER: Needed = Needed { name: c"libcuda.so.1", first: c"libcuda.so.1", function: c"cuInit" };

/// The toolkit's, each after those that it needs itself.
const TOOLKIT: [Needed; 3] = [
    Needed { name: c"libcublasLt.so.13", first: c"libcublasLt.so", function: c"cublasLtCreate" },
    Needed { name: c"libcublas.so.13", first: c"libcublas.so", function: c"cublasCreate_v2" },
    // CUDA 13 ships version 10 of this one.
    Needed { name: c"libcurand.so.10", first: c"libcurand.so", function: c"curandCreateGenerator" },
];

/// What newer ones of these need, too. Those before have it in themselves, so that by itself it is not missed.
const RUNTIME: Needed =
    Needed { name: c"libcudart.so.13", first: c"libcudart.so.13", function: c"cudaRuntimeGetVersion" };

/// Where containers and Windows' Linux keep the driver's libraries, without telling the loader.
const DRIVERS: [&str; 3] = ["/usr/local/nvidia/lib64", "/usr/lib64-nvidia", "/usr/lib/wsl/lib"];

/// The oldest CUDA that a driver must know, as it numbers them: the kernels in this program are of that version.
const CUDA: c_int = 13_000;

/// What a GPU needs, as far as this machine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// Each library that is loaded now.
    pub found: Vec<Found>,
    /// What is missing, one sentence each: empty where a GPU can be used.
    pub missing: Vec<String>,
}

/// A library and the file that it was loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its name, without a version.
    pub name: String,
    /// With the version behind its name, if the name has one.
    pub file: PathBuf,
}

pub(super) const NO_DRIVER: &str =
    "libcuda.so.1 cannot be loaded: it comes with NVIDIA's driver (in a container: run it with its GPUs)";

/// Whether the driver's library can be loaded.
pub fn driver() -> bool {
    open_driver().is_ok()
}

fn open_driver() -> Result<Library, String> {
    open(&DRIVER, driver_folders())
}

/// Where the driver's libraries may be that the loader does not find.
pub(super) fn driver_folders() -> impl Iterator<Item = PathBuf> {
    DRIVERS.iter().map(PathBuf::from)
}

/// What the bindings would take for the driver, which they ask for by this name first: a toolkit's stub has it and does nothing.
fn stub() -> Option<String> {
    let file = Library::open(c"libcuda.so").ok()?.file(DRIVER.function)?;
    is_stub(&file).then(|| {
        format!(
            "{} is a toolkit's stub and stands before the driver's library: take its folder off the loader's path (LD_LIBRARY_PATH)",
            file.display()
        )
    })
}

fn is_stub(file: &Path) -> bool {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "stubs")
}

/// The newest CUDA that the driver knows.
fn version(driver: &Library) -> Option<c_int> {
    // SAFETY: the type is that of cuda.h.
    let ask = unsafe { driver.function::<unsafe extern "C" fn(*mut c_int) -> c_int>(c"cuDriverGetVersion")? };
    let mut version = 0;
    // SAFETY: a place for one number; it may be asked before anything else is.
    (unsafe { ask(&raw mut version) } == 0).then_some(version)
}

fn too_old(version: c_int) -> Option<String> {
    let text = |version: c_int| format!("{}.{}", version / 1000, version % 1000 / 10);
    (version < CUDA).then(|| {
        format!(
            "NVIDIA's driver knows CUDA {}, this program needs {}: update the driver to 580 or later",
            text(version),
            text(CUDA)
        )
    })
}

/// Load what a GPU needs, for as long as the program runs. Without a driver nothing is looked for at a cost.
pub fn load(places: &Places) -> Libraries {
    let mut libraries = Libraries::default();
    let driver = open_driver();
    let places = Places { python: places.python.clone().filter(|_| driver.is_ok()), ..places.clone() };
    match driver {
        Ok(driver) => {
            libraries.missing.extend(stub().or_else(|| version(&driver).and_then(too_old)));
            libraries.keep(&DRIVER, driver);
        }
        Err(_) => libraries.missing.push(NO_DRIVER.into()),
    }
    if let Ok(runtime) = open(&RUNTIME, places.folders()) {
        libraries.keep(&RUNTIME, runtime);
    }
    for needed in &TOOLKIT {
        match open(needed, places.folders()) {
            Ok(library) => libraries.keep(needed, library),
            Err(why) => libraries.missing.push(why),
        }
    }
    libraries
}

impl Libraries {
    fn keep(&mut self, needed: &Needed, library: Library) {
        let name = needed.first.to_string_lossy();
        // Where the loader has it under a link, the version is behind the name of the file itself.
        let file = library.file(needed.function).map(|file| file.canonicalize().unwrap_or(file));
        self.found.push(Found {
            name: name.split('.').next().unwrap_or_default().to_owned(),
            file: file.unwrap_or_else(|| Path::new(&*name).to_owned()),
        });
        library.keep();
    }
}

/// As its bindings will find it; else from the first of the folders whose file can be loaded.
fn open(needed: &Needed, folders: impl Iterator<Item = PathBuf>) -> Result<Library, String> {
    if let Ok(library) = Library::open(needed.first).or_else(|_| Library::open(needed.name)) {
        return Ok(library);
    }
    let name = needed.name.to_string_lossy();
    let mut refused = None;
    for file in folders.map(|folder| folder.join(&*name)).filter(|file| file.is_file()) {
        match Library::open_file(&file) {
            Ok(library) => return Ok(library),
            Err(why) => _ = refused.get_or_insert((file, why)),
        }
    }
    let why = match refused {
        Some((file, why)) => format!("{} cannot be loaded: {why}", file.display()),
        None => format!(
            "{name} of CUDA 13 is neither on the loader's path, nor in CUDA_HOME, nor under /usr/local/cuda, nor among the \
             packages of Python"
        ),
    };
    Err(format!(
        "{why}: in the Python environment in use \
         `pip install 'nvidia-cublas==13.*' 'nvidia-curand==10.*' 'nvidia-cuda-runtime==13.*'` is enough"
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    /// A library with one function, compiled with what else the compiler is told.
    fn compile(file: &Path, name: &str, function: &str, more: &[&str]) {
        let source = file.with_extension("c");
        fs::write(&source, format!("int {function}(void) {{ return 7; }}\n")).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-Wl,--no-as-needed"]).arg(format!("-Wl,-soname,{name}"));
        assert!(cc.arg("-o").arg(file).arg(source).args(more).status().unwrap().success());
    }

    /// As cuBLAS and cuBLASLt are to each other, in a folder that the loader does not know.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_loaded_from_its_file_is_found_by_its_name() {
        if Command::new("cc").arg("--version").output().is_err() {
            println!("skipped: no C compiler (cc)");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let [broken, folder] = ["broken", "whole"].map(|name| home.path().join(name));
        fs::create_dir(&broken).unwrap();
        fs::create_dir(&folder).unwrap();
        let (lt, blas) = (folder.join("libprunelensLt.so.13"), folder.join("libprunelens.so.13"));
        compile(&lt, "libprunelensLt.so.13", "prunelens_lt", &[]);
        compile(&blas, "libprunelens.so.13", "prunelens_blas", &[lt.to_str().unwrap()]);
        fs::write(broken.join("libprunelens.so.13"), "no library").unwrap();
        let needed = |name, first, function| Needed { name, first, function };
        let needs_lt = needed(c"libprunelens.so.13", c"libprunelens.so", c"prunelens_blas");
        let folders = || [home.path().join("none"), broken.clone(), folder.clone()].into_iter();

        assert!(Library::open(c"libprunelens.so.13").is_err(), "the loader does not know the folder");
        let why = open(&needs_lt, folders()).err().unwrap();
        assert!(why.contains("broken/libprunelens.so.13 cannot be loaded") && why.contains("pip install"), "{why}");
        // What it needs itself is loaded first, from the same folder.
        let lt = open(&needed(c"libprunelensLt.so.13", c"libprunelensLt.so", c"prunelens_lt"), folders()).unwrap();
        let mut libraries = Libraries::default();
        libraries.keep(&needed(c"libprunelensLt.so.13", c"libprunelensLt.so", c"prunelens_lt"), lt);
        let blas = open(&needs_lt, folders()).unwrap();
        libraries.keep(&needs_lt, blas);
        let want = ["libprunelensLt", "libprunelens"].map(|name| Found {
            name: name.into(),
            file: folder.canonicalize().unwrap().join(format!("{name}.so.13")),
        });
        assert_eq!(libraries.found, want);
        // And then, as the bindings look for it.
        let again = Library::open(c"libprunelens.so.13").unwrap();
        assert_eq!(again.file(c"prunelens_blas"), Some(folder.join("libprunelens.so.13")));
        assert!(Library::open(c"libprunelens.so").is_err(), "its other name is not what it calls itself");
    }

    #[test]
    fn what_is_nowhere_is_named_with_what_to_do() {
        let needed = Needed { name: c"libprunelens-none.so.13", first: c"libprunelens-none.so", function: c"none" };
        let why = open(&needed, std::iter::empty()).err().unwrap();
        assert!(why.contains("libprunelens-none.so.13 of CUDA 13") && why.contains("pip install"), "{why}");
    }

    #[test]
    fn a_stub_is_no_driver() {
        assert!(is_stub(Path::new("/usr/local/cuda/lib64/stubs/libcuda.so")));
        assert!(!is_stub(Path::new("/usr/lib/x86_64-linux-gnu/libcuda.so.1")) && !is_stub(Path::new("libcuda.so")));
    }

    #[test]
    fn an_old_driver_is_told_from_a_new_one() {
        assert_eq!(too_old(13_000), None);
        assert_eq!(too_old(13_010), None);
        let text = too_old(12_040).unwrap();
        assert!(text.contains("knows CUDA 12.4") && text.contains("needs 13.0"), "{text}");
    }

    #[test]
    fn without_a_driver_the_driver_is_named_first() {
        if !driver() {
            let missing = load(&Places::default()).missing;
            assert!(missing[0].starts_with("libcuda.so.1"), "{missing:?}");
        }
    }
}
