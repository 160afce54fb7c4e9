//! Work that one process does at a time.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Held as long as it lives; the system gives it back whatever ends the process.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// The lock of this name, or `held` where another process has it; `None` on file systems without locks, where there is nothing
    /// to be done about it.
    pub fn take(path: &Path, held: impl FnOnce() -> Error) -> Result<Option<Self>> {
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(path);
            let file = file.map_err(|e| Error::io(path, e))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { path: path.to_path_buf(), _file: file })),
                // Its last owner removed it in between.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held()),
                Err(TryLockError::Error(error)) => {
                    tracing::warn!("{}: cannot be locked: {error}", path.display());
                    return Ok(None);
                }
            }
        }
    }

    /// Whether a process has the lock of this name.
    pub fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked: whoever waits for the name makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether an open file is still the one at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let take = || Lock::take(&path, || Error::invalid("held"));
        let first = take().unwrap();
        assert!(first.is_some() && Lock::is_held(&path));
        assert_eq!(take().unwrap_err().to_string(), "held");
        drop(first);
        assert!(!Lock::is_held(&path) && !path.exists());
        assert!(take().unwrap().is_some());
    }
}
