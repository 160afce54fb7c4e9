//! The libraries that a GPU needs at run time, and where they usually are.

use std::{
    ffi::{CStr, c_int},
    fs,
    path::PathBuf,
};

use super::library::Library;

/// The driver's library comes with the driver, and with nothing else.
const DRIVER: &CStr = c"libcuda.so.1";

/// The toolkit's: any of the names will do, the last is what to look for. Their bindings take the first that loads.
const TOOLKIT: [&[&CStr]; 3] = [
    &[c"libcublas.so", c"libcublas.so.13"],
    &[c"libcublasLt.so", c"libcublasLt.so.13"],
    // CUDA 13 ships version 10 of this one.
    &[c"libcurand.so", c"libcurand.so.10"],
];

/// Where installers put the toolkit's libraries.
const FOLDERS: [&str; 4] =
    ["/usr/local/cuda/lib64", "/usr/local/cuda-13/lib64", "/usr/lib/x86_64-linux-gnu", "/opt/cuda/lib64"];

/// The oldest CUDA that a driver must know, as it numbers them: the kernels in this program are of that version.
const CUDA: c_int = 13_000;

/// Whether the driver's library can be loaded.
pub fn driver() -> bool {
    Library::open(DRIVER).is_some()
}

/// The newest CUDA that the driver knows; none without a driver.
fn version() -> Option<c_int> {
    let library = Library::open(DRIVER)?;
    // SAFETY: the type is that of cuda.h.
    let ask = unsafe { library.function::<unsafe extern "C" fn(*mut c_int) -> c_int>(c"cuDriverGetVersion")? };
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

/// What cannot be loaded, one sentence each: empty where a GPU can be used.
pub fn missing() -> Vec<String> {
    let driver = (!driver()).then(|| {
        "libcuda.so.1 cannot be loaded: it comes with NVIDIA's driver (in a container: run it with its GPUs)".to_owned()
    });
    let absent = TOOLKIT.iter().filter(|names| names.iter().all(|name| Library::open(name).is_none()));
    let toolkit = absent.filter_map(|names| names.last()?.to_str().ok()).map(|name| advice(name, found(name)));
    driver.into_iter().chain(version().and_then(too_old)).chain(toolkit).collect()
}

/// Where a file lies that the loader does not find.
fn found(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(PathBuf::from).find(|folder| fs::metadata(folder.join(name)).is_ok_and(|file| file.is_file()))
}

fn advice(name: &str, found: Option<PathBuf>) -> String {
    match found {
        Some(folder) => {
            format!("{name} cannot be loaded: it is in {}, put that into LD_LIBRARY_PATH", folder.display())
        }
        None => format!(
            "{name} of CUDA 13 cannot be loaded: such files are usually in {}, or in nvidia/cu13/lib of a Python \
             environment; put the folder into LD_LIBRARY_PATH",
            FOLDERS[0]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_file_and_the_folder() {
        let text = advice("libcublas.so.13", Some("/opt/cuda/lib64".into()));
        assert!(text.contains("libcublas.so.13") && text.contains("/opt/cuda/lib64"), "{text}");
        let text = advice("libcurand.so.10", None);
        assert!(text.contains("/usr/local/cuda/lib64") && text.contains("LD_LIBRARY_PATH"), "{text}");
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
            assert!(missing()[0].starts_with("libcuda.so.1"));
        }
    }
}
