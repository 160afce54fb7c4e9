//! A folder that an SAE is trained into belongs to one process at a time: another would go on from the same checkpoint.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use prunelens_core::error::{Error, Result};

const FILE: &str = "training.lock";

/// Held as long as it lives; the system gives it back whatever ends the process.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// None where the file system has no locks.
    pub fn of(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path, _file: file })),
            Err(TryLockError::WouldBlock) => Err(Error::file(
                folder,
                "another process trains an SAE here: wait until it is done, or choose another --out",
            )),
            Err(TryLockError::Error(error)) => {
                tracing::warn!("{}: cannot be locked: {error}", path.display());
                Ok(None)
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_process_s_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::of(folder.path()).unwrap();
        let refused = Lock::of(folder.path()).err().expect("it is held");
        assert!(refused.to_string().contains("another process trains"), "{refused}");
        drop(first);
        assert!(Lock::of(folder.path()).unwrap().is_some());
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left behind");
    }
}
