//! Where the environment says that NVIDIA's libraries may be.

use std::path::PathBuf;

use prunelens_core::hub::Environment;
use prunelens_kernels::gpu::Places;

/// Of a toolkit's folder, as CUDA's own tools and their builders call it.
const TOOLKITS: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];
/// Of the Python environment that is in use.
const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// Folders that it names, and the Python of its path.
pub fn places(environment: Environment) -> Places {
    let named = |names: [&str; 2]| names.into_iter().filter_map(environment).map(PathBuf::from).collect();
    let path = environment("PATH").unwrap_or_default();
    let mut pythons = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    Places {
        toolkits: named(TOOLKITS),
        environments: named(ENVIRONMENTS),
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
        let found = places(&environment);
        assert_eq!(found.toolkits, [PathBuf::from("/cuda")]);
        assert_eq!(found.environments, ["/venv", "/conda"].map(PathBuf::from));
        assert_eq!(found.python, Some(second.join("python3")));
        assert_eq!(places(&|_| None), Places::default());
    }
}
