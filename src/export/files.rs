//! Where exports go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    error::{Error, Result},
    files::write_atomic,
};

/// As [`write_atomic`], with the folders that the file needs.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    write_atomic(path, bytes)
}

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
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = write_atomically(&folder.path().join("file/a.txt"), b"x").unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }

    #[test]
    fn stems_are_free() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("explore-001.json"), b"").unwrap();
        assert_eq!(free_stem(folder.path(), "explore"), folder.path().join("explore-002"));
    }
}
