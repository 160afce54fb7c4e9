//! Writing files so that a crash or a full disk leaves the old file whole.

use std::{fs::File, path::Path};

use crate::error::{Error, Result};

/// Make `path` anew: `write` fills a temporary file beside it, which reaches the disk before it takes the place of the
/// old one. If anything fails the old file stays and the temporary one is removed.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".prunelens-")
        .tempfile_in(folder)
        .map_err(|e| Error::io(folder, e))?
        .into_temp_path();
    write(&temporary)?;
    let file = File::open(&temporary).map_err(|e| Error::io(&temporary, e))?;
    // Temporary files are private; what takes their place is an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |old| old.permissions().mode());
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(|e| Error::io(&temporary, e))?;
    }
    file.sync_all().map_err(|e| Error::io(&temporary, e))?;
    temporary.persist(path).map_err(|e| Error::io(path, e.error))?;
    // Not every system lets folders be synchronised; the rename itself has happened.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The same for text.
pub fn replace_text(path: &Path, text: &str) -> Result<()> {
    replace(path, |temporary| std::fs::write(temporary, text).map_err(|e| Error::io(path, e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures.json");
        replace_text(&path, "old").unwrap();
        let failed = replace(&path, |temporary| {
            std::fs::write(temporary, "half").unwrap();
            Err(Error::Interrupted)
        });
        assert!(matches!(failed, Err(Error::Interrupted)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        replace_text(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
