//! Files that a person names.

use std::path::{Path, PathBuf};

use prunelens_core::error::{Error, Result};

/// A file for what a person named. What is there already stays.
pub fn free(results: &Path, name: &str, extension: &str) -> Result<PathBuf> {
    let path = place_of(results, name, extension)?;
    if path.exists() {
        return Err(Error::file(&path, "is there already; take another name"));
    }
    Ok(path)
}

/// Where a name leads, in full: into the results folder, or, as the path that it is, from where the program was started or from `~`.
fn place_of(results: &Path, name: &str, extension: &str) -> Result<PathBuf> {
    let home = name.strip_prefix("~/").and_then(|rest| Some(std::env::home_dir()?.join(rest)));
    let path = match home {
        Some(path) => path,
        None if name.contains(std::path::is_separator) => PathBuf::from(name),
        None => results.join(name),
    };
    let path = match path.extension() {
        Some(found) if found == extension => path,
        _ => PathBuf::from(format!("{}.{extension}", path.display())),
    };
    std::path::absolute(&path).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_to_the_results_and_a_path_where_it_says() {
        let here = std::env::current_dir().unwrap();
        let place = |name: &str| place_of(Path::new("results"), name, "toml").unwrap();
        assert_eq!(place("navy"), here.join("results/navy.toml"));
        assert_eq!(place("navy.toml"), here.join("results/navy.toml"));
        assert_eq!(place("v1.2"), here.join("results/v1.2.toml"));
        assert_eq!(place("views/navy"), here.join("views/navy.toml"));
        assert_eq!(place("/tmp/navy"), Path::new("/tmp/navy.toml"));
        assert_eq!(place("~/navy"), std::env::home_dir().unwrap().join("navy.toml"));
    }
}
