//! Writing results so that a full disk or a crash loses nothing that was there.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Write a whole file or nothing: a temporary file beside it, synced, then renamed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |e| Error::io(path, e);
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut file =
        tempfile::Builder::new().prefix(".prunelens-").tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private; results are for whoever may read the folder.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
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
