//! Where the environment says that NVIDIA's libraries may be.

use std::path::{Path, PathBuf};

use prunelens_core::hub::Environment;
use prunelens_kernels::gpu::Places;

/// Of a toolkit's folder, as CUDA's own tools and their builders call it.
const TOOLKITS: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];
/// Of the Python environment that is in use.
const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// The environment that `program` is installed in, folders that are named, and the Python of the path. A wheel's program lies in its
/// environment's `bin`, and what the wheel depends on beside it.
pub fn places(program: Option<&Path>, environment: Environment) -> Places {
    let named = |names: [&'static str; 2]| names.into_iter().filter_map(environment).map(PathBuf::from);
    let own = program.and_then(|program| program.canonicalize().ok()?.parent()?.parent().map(Path::to_path_buf));
    let path = environment("PATH").unwrap_or_default();
    let mut pythons = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    Places {
        toolkits: named(TOOLKITS).collect(),
        environments: own.into_iter().chain(named(ENVIRONMENTS)).collect(),
        python: pythons.find(|python| python.is_absolute() && python.is_file()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_taken_in_order_and_python_from_the_path() {
        let home = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| home.path().join(name));
        std::fs::create_dir(&second).unwrap();
        std::fs::write(second.join("python3"), "").unwrap();
        let path = std::env::join_paths([&first, &second]).unwrap().into_string().unwrap();
        let environment = |name: &str| match name {
            "CUDA_PATH" => Some("/cuda".to_owned()),
            "VIRTUAL_ENV" => Some("/venv".to_owned()),
            "CONDA_PREFIX" => Some("/conda".to_owned()),
            "PATH" => Some(path.clone()),
            _ => None,
        };
        let found = places(None, &environment);
        assert_eq!(found.toolkits, [PathBuf::from("/cuda")]);
        assert_eq!(found.environments, ["/venv", "/conda"].map(PathBuf::from));
        assert_eq!(found.python, Some(second.join("python3")));
        assert_eq!(places(None, &|_| None), Places::default());
    }

    /// As `uvx` and `pipx` start it: by a link, with no environment in use.
    #[cfg(unix)]
    #[test]
    fn the_environment_of_the_program_itself_comes_first() {
        let home = tempfile::tempdir().unwrap();
        let [own, links] = ["tools/prunelens", "links"].map(|name| home.path().join(name));
        std::fs::create_dir_all(own.join("bin")).unwrap();
        std::fs::create_dir(&links).unwrap();
        std::fs::write(own.join("bin/prunelens"), "").unwrap();
        std::os::unix::fs::symlink(own.join("bin/prunelens"), links.join("prunelens")).unwrap();
        let environment = |name: &str| (name == "VIRTUAL_ENV").then(|| "/venv".to_owned());
        let found = places(Some(&links.join("prunelens")), &environment);
        assert_eq!(found.environments, [own.canonicalize().unwrap(), "/venv".into()]);
    }
}
