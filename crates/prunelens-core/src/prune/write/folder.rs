//! The folder to write: filled beside its place, and put there whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    error::{Error, Result},
    files::{LOCK, PREFIX, sweep},
};

/// A folder in the making. Dropped unfinished, it leaves nothing behind.
pub struct Staged {
    out: PathBuf,
    dir: TempDir,
    /// Held until it is in its place; one that nobody holds was left by a process that was killed, and is swept away.
    _lock: fs::File,
}

impl Staged {
    /// Refuses now what [`Self::finish`] could not do after the work. `source` is what will be read.
    pub fn new(out: &Path, force: bool, source: Option<&Path>) -> Result<Self> {
        let refuse = |what: &str| Err(Error::file(out, what));
        if out.exists() {
            if !out.is_dir() {
                return refuse("is a file; give --out a folder");
            }
            if source.is_some_and(|source| same_folder(source, out)) {
                return refuse("is the folder that is read; give --out another one");
            }
            let mut entries = fs::read_dir(out).map_err(|e| Error::io(out, e))?;
            if !force && entries.next().is_some() {
                return refuse("the folder holds files already; give another --out, or --force to replace them");
            }
        }
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let unwritable = |e| Error::file(out, format!("cannot be written: {e}; give another --out"));
        fs::create_dir_all(parent).map_err(unwritable)?;
        sweep(parent);
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(unwritable)?;
        let lock = fs::File::create(dir.path().join(LOCK)).map_err(unwritable)?;
        // Some file systems have none; then the folder is never taken for one that was left.
        let _ = lock.try_lock();
        // The temporary folder is private; what it holds becomes an ordinary folder.
        let made = Self { out: out.to_path_buf(), dir, _lock: lock };
        fs::create_dir(made.inner()).map_err(|e| made.error(&e))?;
        Ok(made)
    }

    /// The folder to be.
    pub fn inner(&self) -> PathBuf {
        self.dir.path().join("folder")
    }

    /// Where to write a file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.inner().join(name)
    }

    /// A failed write, in words that name the folder the user asked for.
    pub fn error(&self, source: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        let full = matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        let advice = if full { "make room there or give another --out" } else { "give another --out" };
        Error::file(&self.out, format!("not written: {source}; nothing there has changed; {advice}"))
    }

    /// Write a file of the folder to be.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = fs::File::create(self.file(name)).and_then(|mut file| {
            std::io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        });
        written.map_err(|e| self.error(&e))
    }

    /// Copy a file into the folder to be.
    pub fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let bytes = fs::read(from).map_err(|e| Error::io(from, e))?;
        self.write(name, &bytes)
    }

    /// Put the folder in its place. Files of an older folder stay, but for ours and those that would be read instead of ours:
    /// `stale` says which. They go before the first of ours comes: a folder that is left halfway lacks files, and never has
    /// some of the old and some of the new.
    pub fn finish(self, stale: impl Fn(&str) -> bool) -> Result<PathBuf> {
        if !self.out.exists() {
            fs::rename(self.inner(), &self.out).map_err(|e| self.error(&e))?;
            return Ok(self.out);
        }
        let moved = (|| {
            for entry in fs::read_dir(&self.out)? {
                let entry = entry?;
                let name = entry.file_name();
                let goes = self.inner().join(&name).exists() || name.to_str().is_some_and(&stale);
                if goes && !entry.file_type()?.is_dir() {
                    fs::remove_file(entry.path())?;
                }
            }
            for entry in fs::read_dir(self.inner())? {
                let entry = entry?;
                fs::rename(entry.path(), self.out.join(entry.file_name()))?;
            }
            Ok(())
        })();
        moved
            .map_err(|e: std::io::Error| Error::file(&self.out, format!("only partly replaced: {e}; run it again")))?;
        Ok(self.out)
    }
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_appears_before_the_end() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("a/b");
        let staged = Staged::new(&out, false, None).unwrap();
        staged.write("weights", b"1").unwrap();
        assert!(!out.exists());
        drop(staged);
        assert_eq!(names(out.parent().unwrap()), [""; 0]);

        let staged = Staged::new(&out, false, None).unwrap();
        staged.write("weights", b"1").unwrap();
        assert_eq!(staged.finish(|_| false).unwrap(), out);
        assert_eq!((names(&out), names(out.parent().unwrap())), (vec!["weights".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn files_are_replaced_only_by_force() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path();
        for name in ["weights", "old.shard", "notes"] {
            fs::write(out.join(name), "old").unwrap();
        }
        let message = Staged::new(out, false, None).err().unwrap().to_string();
        assert!(message.contains("holds files already") && message.contains("--force"), "{message}");

        let staged = Staged::new(out, true, None).unwrap();
        staged.write("weights", b"new").unwrap();
        staged.finish(|name| name.ends_with(".shard")).unwrap();
        assert_eq!(names(out), ["notes", "weights"]);
        assert_eq!(fs::read(out.join("weights")).unwrap(), b"new");
    }

    #[test]
    fn sources_and_files_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let message = Staged::new(place.path(), true, Some(&place.path().join("."))).err().unwrap().to_string();
        assert!(message.contains("is the folder that is read"), "{message}");
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Staged::new(&file, true, None).err().unwrap().to_string().contains("is a file"));
        assert!(Staged::new(&file.join("x"), true, None).err().unwrap().to_string().contains("cannot be written"));
    }
}
