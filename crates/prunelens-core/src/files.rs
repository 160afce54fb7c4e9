//! Files written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Write `bytes` to `path` so that the file is either the old one or the new one, whatever happens in between: the
/// bytes go to a temporary file in the same folder, reach the disk, and only then take the name.
///
/// A link is followed, and what is no plain file (a device, a pipe) is written through to: neither is replaced.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let found = fs::metadata(path);
    if found.is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let through = File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes));
        return through.map_err(|e| Error::io(path, e));
    }
    let followed = behind_links(path)?;
    let (path, folder) = (followed.as_path(), folder_of(&followed));
    let written = write_beside(&folder, bytes)
        .and_then(|temporary| temporary.persist(path).map_err(|error| error.error))
        .and_then(|_| sync_folder(&folder));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::file(
            path,
            format!(
                "not saved: the disk is full and {} bytes are needed; an older file of this name is unchanged. Free some space or choose another folder",
                bytes.len()
            ),
        ),
        io::ErrorKind::NotFound => Error::file(path, format!("not saved: the folder {} does not exist", folder.display())),
        _ => Error::file(path, format!("not saved: {source}; an older file of this name is unchanged")),
    })
}

/// Make a folder for results, with its parents, and check that a file can be made in it, so that hours of work do not
/// end in a refusal.
pub fn create_folder(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let refused = |source: io::Error| {
        Error::file(folder, format!("results cannot be written here: {source}; choose another folder"))
    };
    fs::create_dir_all(folder).map_err(refused)?;
    tempfile::tempfile_in(folder).map_err(refused)?;
    Ok(())
}

/// The path that a chain of links leads to, which need not exist.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut at = path.to_path_buf();
    for _ in 0..40 {
        match fs::read_link(&at) {
            Ok(target) => at = folder_of(&at).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(Error::file(path, "not saved: it is a link that leads back to itself"))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn write_beside(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".prunelens-").suffix(".tmp");
    // Temporary files are private by default; results are ordinary files (the umask still applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// Make the new name itself durable. Not every system can open a folder; there the rename has to do.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_pipes_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_atomic(&link, b"one").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is still one");
        assert_eq!(fs::read(&file).unwrap(), b"one");
        write_atomic("/dev/null", b"one").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file(), "the device is still one");
        let round = folder.path().join("round");
        std::os::unix::fs::symlink("round", &round).unwrap();
        assert!(write_atomic(&round, b"one").is_err());
    }

    #[test]
    fn a_refused_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        // A folder of the same name cannot be replaced by a file.
        let path = folder.path().join("result.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old"), b"old").unwrap();
        let message = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(message.contains("result.json") && message.contains("not saved"), "{message}");
        assert_eq!(fs::read(path.join("old")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn says_which_folder_is_missing_or_unwritable() {
        let folder = tempfile::tempdir().unwrap();
        let message = write_atomic(folder.path().join("no/such.json"), b"").unwrap_err().to_string();
        assert!(message.contains("does not exist"), "{message}");
        fs::write(folder.path().join("file"), b"").unwrap();
        let message = create_folder(folder.path().join("file/results")).unwrap_err().to_string();
        assert!(message.contains("cannot be written"), "{message}");
        create_folder(folder.path().join("a/b")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn results_are_ordinary_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomic(&ours, b"x").unwrap();
        fs::write(&plain, b"x").unwrap();
        assert_eq!(
            fs::metadata(&ours).unwrap().permissions().mode(),
            fs::metadata(&plain).unwrap().permissions().mode()
        );
    }
}
