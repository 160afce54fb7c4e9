//! Names of exports.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A name such as `explore-003` that no file in the folder begins with yet.
pub fn free_stem(folder: &Path, name: &str) -> PathBuf {
    let taken: Vec<String> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let free = (1..).map(|n| format!("{name}-{n:03}")).find(|stem| !taken.iter().any(|t| t.starts_with(stem.as_str())));
    folder.join(free.unwrap_or_else(|| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_free() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("explore-001.json"), b"").unwrap();
        assert_eq!(free_stem(folder.path(), "explore"), folder.path().join("explore-002"));
    }
}
