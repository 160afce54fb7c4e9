//! Processor, memory and GPU.

use std::fs;

use prunelens_core::{memory, text};
use prunelens_kernels::gpu::{Places, libraries, nvml};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Cpu {
    architecture: &'static str,
    model: Option<String>,
    /// Instruction sets that matter for the matrix products.
    features: Vec<&'static str>,
    /// Threads the program uses unless told otherwise.
    threads: usize,
}

impl Cpu {
    pub fn find() -> Self {
        Self {
            architecture: std::env::consts::ARCH,
            model: proc_value("/proc/cpuinfo", "model name"),
            features: features(),
            threads: rayon::current_num_threads(),
        }
    }

    pub fn lines(&self) -> [(&'static str, String); 2] {
        let model = self.model.as_deref().unwrap_or("unknown model");
        let features = if self.features.is_empty() { "none known".into() } else { self.features.join(" ") };
        [("cpu", format!("{model} ({}), {} threads", self.architecture, self.threads)), ("cpu features", features)]
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn features() -> Vec<&'static str> {
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    found.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    // Part of every aarch64 processor that runs a general operating system.
    vec!["neon"]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[derive(Debug, Serialize)]
pub struct Memory {
    total_bytes: Option<u64>,
    /// Within the machine's and the limit, as jobs count it.
    pub available_bytes: Option<u64>,
    /// What a container is allowed; null where it is all.
    limit_bytes: Option<u64>,
}

impl Memory {
    pub fn find() -> Self {
        memory::Memory::read().into()
    }

    pub fn lines(&self) -> [(&'static str, String); 1] {
        let [total, free] = [self.total_bytes, self.available_bytes].map(|b| b.map_or("unknown".into(), text::bytes));
        let limit = self.limit_bytes.map_or(String::new(), |limit| format!(", {} allowed here", text::bytes(limit)));
        [("memory", format!("{total} total{limit}, {free} available"))]
    }
}

impl From<memory::Memory> for Memory {
    fn from(memory: memory::Memory) -> Self {
        Self { total_bytes: memory.total, available_bytes: memory.free, limit_bytes: memory.limit }
    }
}

/// What follows `key:` in a file of /proc; `None` on systems without it.
fn proc_value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == key).then(|| value.trim().to_owned())
    })
}

#[derive(Debug, Serialize)]
pub struct Gpu {
    /// Whether this program was built with the `cuda` feature.
    pub built_with_cuda: bool,
    /// Whether the driver's library can be loaded.
    driver_library: bool,
    pub driver_version: Option<String>,
    devices: Vec<String>,
    /// Memory of each GPU, by the management library; null where it does not answer.
    cards: Option<Vec<nvml::Card>>,
    /// The driver's and CUDA's libraries, as they were found.
    libraries: Vec<libraries::Found>,
    /// What a program built with CUDA would not find, and what to do about it.
    pub missing: Vec<String>,
}

impl Gpu {
    pub fn find(places: &Places) -> Self {
        let machine = nvml::read();
        let libraries = libraries::load(places);
        let driver = machine.as_ref().map(|machine| machine.driver.clone());
        Self {
            built_with_cuda: cfg!(feature = "cuda"),
            driver_library: libraries::driver(),
            driver_version: driver_version().or(driver),
            devices: devices(),
            cards: machine.map(|machine| machine.cards),
            libraries: libraries.found,
            missing: libraries.missing,
        }
    }

    /// Whether this process sees a card, by the kernel's files or by the management library.
    pub fn is_there(&self) -> bool {
        self.driver_library && !(self.devices.is_empty() && self.cards.iter().flatten().next().is_none())
    }

    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let driver = match (&self.driver_version, self.driver_library) {
            (Some(version), true) => format!("driver {version}"),
            (None, true) => "driver present".into(),
            (Some(version), false) => format!("driver {version}, but its library libcuda cannot be loaded"),
            (None, false) => "no driver".into(),
        };
        let devices = if self.devices.is_empty() { String::new() } else { format!(": {}", self.devices.join(", ")) };
        let built = if self.built_with_cuda { "built with it" } else { "not built with it" };
        let mut lines = vec![("gpu", format!("{driver}{devices}"))];
        lines.extend(self.cards.iter().flatten().map(|card| ("gpu memory", card.line())));
        lines.push(("cuda", built.into()));
        // Of no interest where the program could not use them.
        if self.built_with_cuda {
            let library = |found: &libraries::Found| format!("{}: {}", found.name, found.file.display());
            lines.extend(self.libraries.iter().map(|found| ("library", library(found))));
            lines.extend(self.missing.iter().map(|missing| ("missing", missing.clone())));
        }
        lines
    }
}

fn driver_version() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    parse_driver_version(&text).map(str::to_owned)
}

/// The first word with two dots or more in lines such as
/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5 22:23:56 UTC 2024`.
fn parse_driver_version(text: &str) -> Option<&str> {
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines().next()?.split_whitespace().find(is_version)
}

fn devices() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path().join("information")).collect();
    files.sort();
    files.iter().filter_map(|file| proc_value(file.to_str()?, "Model")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_what_it_is_allowed() {
        let [total, free] = [16, 3].map(|gib| Some(gib << 30));
        let line = |limit| Memory::from(memory::Memory { total, free, limit }).lines()[0].1.clone();
        assert_eq!(line(None), "16.0 GiB total, 3.0 GiB available");
        assert_eq!(line(Some(4 << 30)), "16.0 GiB total, 4.0 GiB allowed here, 3.0 GiB available");
    }

    #[test]
    fn driver_versions_are_found_in_both_wordings() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.3.0";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86  Release Build";
        assert_eq!(parse_driver_version(closed), Some("550.54.15"));
        assert_eq!(parse_driver_version(open), Some("570.86"));
        assert_eq!(parse_driver_version(""), None);
    }
}
