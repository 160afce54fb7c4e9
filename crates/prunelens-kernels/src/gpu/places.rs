//! Folders where people have CUDA's libraries, besides those that the loader knows.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the program's environment tells of such folders. By itself this crate knows those of installers alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Folders of CUDA toolkits, as CUDA_HOME names one.
    pub toolkits: Vec<PathBuf>,
    /// Folders of Python environments, as VIRTUAL_ENV and CONDA_PREFIX name one.
    pub environments: Vec<PathBuf>,
    /// A Python to ask where its packages are. It is run only if a library is nowhere else.
    pub python: Option<PathBuf>,
}

/// Where installers put toolkits: the first one's folders have any version's name behind them.
const TOOLKITS: [(&str, &str); 2] = [("/usr/local", "cuda"), ("/opt", "cuda")];

impl Places {
    /// Folders that may have the libraries, the likeliest first, each looked up when it is asked for.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let toolkits = self.toolkits.iter().flat_map(|home| toolkit(home));
        let environments = self.environments.iter().flat_map(|home| environment(home));
        let installed = TOOLKITS.iter().flat_map(|(folder, name)| named(Path::new(folder), name));
        let asked = self.python.iter().flat_map(|python| packages(python)).flat_map(|site| wheels(&site));
        toolkits.chain(environments).chain(installed.flat_map(|home| toolkit(&home))).chain(asked)
    }
}

fn toolkit(home: &Path) -> Vec<PathBuf> {
    vec![home.join("lib64"), home.join("lib")]
}

/// Of an environment: its own folder of libraries, as conda's packages have it, and those of NVIDIA's wheels.
fn environment(home: &Path) -> Vec<PathBuf> {
    let sites = named(&home.join("lib"), "python").into_iter().map(|python| python.join("site-packages"));
    std::iter::once(home.join("lib")).chain(sites.flat_map(|site| wheels(&site))).collect()
}

/// Of Python's packages: NVIDIA's (`nvidia/cu13/lib`, or a folder for each library), and what torch brings itself.
fn wheels(site: &Path) -> Vec<PathBuf> {
    let nvidia = named(&site.join("nvidia"), "").into_iter().map(|part| part.join("lib"));
    nvidia.chain([site.join("torch/lib")]).collect()
}

/// What lies in a folder and has a name that begins so: `cuda` before `cuda-13.1` before `cuda-12.4`.
fn named(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let begins = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(start));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(begins).collect();
    found.sort_by(|a, b| (b.as_path() == folder.join(start)).cmp(&(a.as_path() == folder.join(start))).then(b.cmp(a)));
    found
}

/// Where a Python looks for packages: its own folder, the user's, and what else it was told.
fn packages(python: &Path) -> Vec<PathBuf> {
    let ask =
        Command::new(python).args(["-c", "import sys; print(*sys.path, sep='\\n')"]).stdin(Stdio::null()).output();
    let Ok(answer) = ask else { return Vec::new() };
    let text = String::from_utf8_lossy(&answer.stdout);
    // The first line is empty: the folder it was started in.
    text.lines().map(PathBuf::from).filter(|path| path.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_comes_before_what_is_installed_and_python_last() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let site = home.join("env/lib/python3.12/site-packages");
        for wheel in ["nvidia/cu12", "nvidia/cu13", "nvidia/cublas"] {
            fs::create_dir_all(site.join(wheel)).unwrap();
        }
        let places = Places { toolkits: vec![home.join("cuda")], environments: vec![home.join("env")], python: None };
        let found: Vec<PathBuf> = places.folders().filter(|path| path.starts_with(home)).collect();
        let want = ["cuda/lib64", "cuda/lib", "env/lib"].map(|path| home.join(path)).into_iter();
        // A newer CUDA before an older one.
        let wheels = ["nvidia/cublas/lib", "nvidia/cu13/lib", "nvidia/cu12/lib", "torch/lib"];
        assert_eq!(found, want.chain(wheels.map(|path| site.join(path))).collect::<Vec<_>>());
    }

    #[test]
    fn toolkits_without_a_version_and_newer_ones_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for name in ["cuda-12.4", "cuda", "cuda-13.0", "other"] {
            fs::create_dir(home.join(name)).unwrap();
        }
        assert_eq!(named(home, "cuda"), ["cuda", "cuda-13.0", "cuda-12.4"].map(|name| home.join(name)));
        assert_eq!(named(&home.join("absent"), "cuda"), [] as [PathBuf; 0]);
    }

    /// A stand-in for Python that answers as it does.
    #[cfg(unix)]
    #[test]
    fn python_says_where_its_packages_are() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let python = home.join("python3");
        fs::write(&python, format!("#!/bin/sh\nprintf '\\n%s/site\\n/usr/lib/python3.zip\\n' {}\n", home.display()))
            .unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(packages(&python), [home.join("site"), PathBuf::from("/usr/lib/python3.zip")]);
        fs::create_dir_all(home.join("site/nvidia/cu13")).unwrap();
        let places = Places { python: Some(python), ..Places::default() };
        let found: Vec<PathBuf> = places.folders().filter(|path| path.starts_with(home)).collect();
        assert_eq!(found, [home.join("site/nvidia/cu13/lib"), home.join("site/torch/lib")]);
        assert!(packages(&home.join("none")).is_empty());
    }
}
