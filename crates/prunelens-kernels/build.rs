//! With the `cuda` feature: compiles the kernels to the machine code of common GPUs, and to PTX, which the driver of the machine
//! turns into code for any other.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest GPUs that are supported; PTX for them loads on every later one.
const VIRTUAL: &str = "compute_80";
/// Machine code for each of these runs on its successors of the same first digit, too: 8.6 and 8.9, 10.3, 12.1.
const REAL: [&str; 4] = ["sm_80", "sm_90", "sm_100", "sm_120"];
const KERNELS: &str = "src/cuda";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed={KERNELS}");
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if let Err(why) = kernels() {
        // The one way in which a build script says what went wrong.
        eprintln!("{why}");
        std::process::exit(1);
    }
    static_runtime();
}

/// One file of code for each `.cu` file, beside the other outputs of the build.
fn kernels() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this by cargo")?);
    let files = fs::read_dir(KERNELS).map_err(|e| format!("{KERNELS}: {e}"))?;
    let sources = files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "cu"));
    for source in sources {
        compile(&source, &out.join(source.file_name().unwrap_or_default()).with_extension("fatbin"))?;
    }
    Ok(())
}

fn compile(source: &Path, code: &Path) -> Result<(), String> {
    let nvcc = nvcc();
    // Multiplications and additions are fused where the code says so: sums are then the same in every build.
    let mut command = Command::new(&nvcc);
    command.args(["--fatbin", "-O3", "-std=c++17", "-fmad=false", "-Xfatbin", "-compress-all"]);
    for code in REAL.into_iter().chain([VIRTUAL]) {
        command.arg(format!("-gencode=arch={VIRTUAL},code={code}"));
    }
    let output = command.arg("-o").arg(code).arg(source).output();
    let output = output.map_err(|e| {
        format!("{}: {e}; the cuda feature needs nvcc of CUDA 13.0 on PATH, or its path in NVCC", nvcc.display())
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("nvcc refused {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr)))
}

fn nvcc() -> PathBuf {
    if let Some(path) = env::var_os("NVCC") {
        return path.into();
    }
    toolkit().map(|home| home.join("bin/nvcc")).filter(|path| path.is_file()).unwrap_or_else(|| "nvcc".into())
}

fn toolkit() -> Option<PathBuf> {
    ["CUDA_HOME", "CUDA_PATH"].iter().find_map(env::var_os).map(PathBuf::from)
}

/// candle's kernels ask for `-lcudart`: under that name the linker finds the static archive first, so that the program has
/// no `libcudart.so` to miss.
fn static_runtime() {
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    let homes = toolkit().into_iter().chain([PathBuf::from("/usr/local/cuda")]);
    let archives = homes.flat_map(|home| ["lib64", "lib"].map(|lib| home.join(lib).join("libcudart_static.a")));
    let Some(archive) = archives.into_iter().find(|path| path.is_file()) else { return };
    if fs::copy(archive, out.join("libcudart.a")).is_ok() {
        println!("cargo:rustc-link-search=native={}", out.display());
    }
}
