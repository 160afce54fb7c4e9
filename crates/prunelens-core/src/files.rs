//! Files written whole or not at all.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tempfile::{NamedTempFile, PersistError};

use crate::error::{Error, Result};

/// What names of temporary files and folders begin with.
pub const PREFIX: &str = ".prunelens-";
/// What those of files end with.
pub const SUFFIX: &str = ".tmp";

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
    Prepared::new(path, &[bytes])?.take_name(|temporary, path| temporary.persist(path))
}

/// As [`write_atomic`], with the folders that the file needs.
pub fn write_with_folders(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    create_folder_of(path)?;
    write_atomic(path, bytes)
}

/// The same of a plain file in parts, which need not be put together in memory.
pub(crate) fn write_parts(path: &Path, parts: &[&[u8]]) -> Result<()> {
    create_folder_of(path)?;
    Prepared::new(path, parts)?.take_name(|temporary, path| temporary.persist(path))
}

fn create_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// Write results below a folder, each by its name there, and give their paths.
pub fn write_under(
    folder: impl AsRef<Path>,
    files: impl IntoIterator<Item = (impl AsRef<Path>, impl AsRef<[u8]>)>,
) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    create_folder(folder)?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        write_with_folders(&path, bytes.as_ref())?;
        written.push(path);
    }
    Ok(written)
}

/// As [`write_atomic`] for a file that must not be there yet: what somebody else put there in between stays.
pub fn write_new(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::file(path, "not saved: there is such a file"));
    }
    Prepared::new(path, &[bytes])?.take_name(|temporary, path| temporary.persist_noclobber(path))
}

/// Write files that are one thing, the last of which is what readers look for: a config, a summary. All of them reach the
/// disk before the first takes its name, and the last is away meanwhile. So there is all of the old, all of the new, or
/// nothing that would be read.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<()> {
    let prepared = files.iter().map(|(path, bytes)| Prepared::new(path, &[bytes])).collect::<Result<Vec<_>>>()?;
    if let [_, .., (last, _)] = files {
        match fs::remove_file(last) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(*last, e)),
            _ => {}
        }
    }
    prepared.into_iter().try_for_each(|file| file.take_name(|temporary, path| temporary.persist(path)))
}

/// A file on disk that has not taken its name.
struct Prepared {
    path: PathBuf,
    folder: PathBuf,
    bytes: usize,
    temporary: NamedTempFile,
}

impl Prepared {
    fn new(path: &Path, parts: &[&[u8]]) -> Result<Self> {
        let path = behind_links(path)?;
        let folder = folder_of(&path);
        sweep(&folder);
        let bytes = parts.iter().map(|part| part.len()).sum();
        match write_beside(&folder, parts) {
            Ok(temporary) => Ok(Self { path, folder, bytes, temporary }),
            Err(error) => Err(unsaved(&path, &folder, bytes, &error)),
        }
    }

    fn take_name(self, persist: impl FnOnce(NamedTempFile, &Path) -> Result<File, PersistError>) -> Result<()> {
        let Self { path, folder, bytes, temporary } = self;
        let named = persist(temporary, &path).map_err(|error| error.error).and_then(|_| sync_folder(&folder));
        named.map_err(|error| unsaved(&path, &folder, bytes, &error))
    }
}

fn unsaved(path: &Path, folder: &Path, bytes: usize, source: &io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::file(
            path,
            format!(
                "not saved: the disk is full and {bytes} bytes are needed; an older file of this name is unchanged. Free some space or choose another folder"
            ),
        ),
        io::ErrorKind::NotFound if !folder.exists() => {
            Error::file(path, format!("not saved: the folder {} does not exist", folder.display()))
        }
        _ => Error::file(path, format!("not saved: {source}; an older file of this name is unchanged")),
    }
}

/// Entries of a folder that are looked at.
const MOST: usize = 100_000;
/// A temporary file is locked a moment after it was made.
const MOMENT: Duration = Duration::from_secs(60);

/// A process that is killed cannot remove what it had begun: the next one that writes to the folder does, once.
pub(crate) fn sweep(folder: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_path_buf()) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(MOST) {
        let (name, path) = (entry.file_name(), entry.path());
        if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        // What cannot go stays; it does no harm.
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_left(&path.join(LOCK)) => fs::remove_dir_all(&path),
            Ok(kind) if kind.is_file() && name.to_str().is_some_and(|n| n.ends_with(SUFFIX)) && is_left(&path) => {
                fs::remove_file(&path)
            }
            _ => Ok(()),
        };
    }
}

/// Of a temporary folder: held as long as its process fills it.
pub(crate) const LOCK: &str = "lock";

/// Whether nobody holds a file: the system lets go of a lock when its process ends, however that ends. On file systems without
/// locks nothing is known, and nothing removed.
fn is_left(path: &Path) -> bool {
    let Ok(file) = File::options().write(true).open(path) else { return false };
    let age = file.metadata().and_then(|found| found.modified()).map(|time| time.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age > MOMENT) && file.try_lock().is_ok()
}

/// A whole file; `None` where it has more than `most` bytes. Names lead to devices and pipes as well, which have no size: what
/// is counted is what comes.
pub fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let known = file.metadata().map_or(0, |found| found.len());
    if known > most {
        return Ok(None);
    }
    bytes.try_reserve(known as usize).map_err(|e| Error::file(path, e.to_string()))?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Make a folder for results, with its parents, and check that a file can be made in it, so that hours of work do not
/// end in a refusal.
pub fn create_folder(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let refused = |source: io::Error| {
        Error::file(folder, format!("results cannot be written here: {source}; choose another folder"))
    };
    fs::create_dir_all(folder).map_err(refused)?;
    sweep(folder);
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

/// A file in a folder that goes when it is dropped; of a process that was killed, with the next write to the folder.
pub fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // Temporary files are private by default; results are ordinary files (the umask still applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    // Some file systems have no locks; then it is never taken for one that was left.
    let _ = temporary.as_file().try_lock();
    Ok(temporary)
}

fn write_beside(folder: &Path, parts: &[&[u8]]) -> io::Result<NamedTempFile> {
    let mut temporary = temporary_in(folder)?;
    parts.iter().try_for_each(|part| temporary.write_all(part))?;
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

    #[test]
    fn folders_are_made_where_a_file_needs_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/a.txt");
        write_with_folders(&path, b"one").unwrap();
        write_with_folders(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let error = write_with_folders(path.join("b.txt"), b"x").unwrap_err();
        assert!(error.to_string().contains("a.txt"), "{error}");
    }

    #[test]
    fn results_go_below_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let written = write_under(&out, [("report.md", "text"), ("charts/one.svg", "chart")]).unwrap();
        assert_eq!(written, [out.join("report.md"), out.join("charts/one.svg")]);
        assert_eq!(fs::read(&written[1]).unwrap(), b"chart");
    }

    #[test]
    fn files_are_read_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"seven b").unwrap();
        assert_eq!(read_at_most(&path, 7).unwrap().unwrap(), b"seven b");
        assert_eq!(read_at_most(&path, 6).unwrap(), None);
        #[cfg(unix)]
        assert_eq!(read_at_most(Path::new("/dev/zero"), 1 << 16).unwrap(), None, "it has no end");
        // A folder has a size too, which says nothing.
        assert!(read_at_most(folder.path(), 1 << 20).is_err());
    }

    #[test]
    fn a_new_file_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.toml");
        write_new(&path, b"one").unwrap();
        assert!(write_new(&path, b"two").unwrap_err().to_string().contains("there is such a file"));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_belongs_together_is_all_old_or_all_new() {
        let folder = tempfile::tempdir().unwrap();
        let [weights, config] = ["weights", "config"].map(|name| folder.path().join(name));
        let write = |text: &[u8]| write_together(&[(&weights, text), (&config, text)]);
        write(b"one").unwrap();
        write(b"two").unwrap();
        assert_eq!([&weights, &config].map(|path| fs::read(path).unwrap()), [b"two", b"two"]);
        // The first cannot take its name: the last, by which they are found, is not there.
        fs::remove_file(&weights).unwrap();
        fs::create_dir(&weights).unwrap();
        write(b"three").unwrap_err();
        assert!(!config.exists());
        // One that cannot be prepared changes nothing.
        fs::remove_dir(&weights).unwrap();
        write(b"four").unwrap();
        let nowhere = folder.path().join("no/such");
        write_together(&[(&weights, b"five"), (&nowhere, b"five")]).unwrap_err();
        assert_eq!([&weights, &config].map(|path| fs::read(path).unwrap()), [b"four", b"four"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_held_stays() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
            file
        };
        let (old, new) = (2 * MOMENT, Duration::ZERO);
        for name in ["left.tmp", "folder/lock", "folder/folder/weights"] {
            make(&format!("{PREFIX}{name}"), old);
        }
        let held = ["held.tmp", "filled/lock"].map(|name| make(&format!("{PREFIX}{name}"), old));
        held.iter().for_each(|file| file.try_lock().unwrap());
        make(&format!("{PREFIX}new.tmp"), new);
        for name in ["notes.tmp", "prunelens-x.tmp", ".prunelens-notes"] {
            make(name, old);
        }
        write_atomic(folder.path().join("result"), b"x").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let stay = [
            ".prunelens-filled",
            ".prunelens-held.tmp",
            ".prunelens-new.tmp",
            ".prunelens-notes",
            "notes.tmp",
            "prunelens-x.tmp",
            "result",
        ];
        assert_eq!(names, stay);
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
