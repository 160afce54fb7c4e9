//! The cache on disk, shared with the Python libraries: `models--owner--name/{blobs,refs,snapshots}`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::HubId;
use crate::{
    error::{Error, Result},
    files::write_with_folders,
};

/// One repository's part of the cache.
pub struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    inner: CacheRepo,
    revision: String,
}

impl RepoCache {
    pub fn new(cache: &Path, id: &HubId) -> Self {
        let repo = Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision().to_owned());
        Self {
            folder: cache.join(repo.folder_name()),
            locks: cache.join(".locks").join(repo.folder_name()),
            inner: Cache::new(cache.to_path_buf()).repo(repo),
            revision: id.revision().to_owned(),
        }
    }

    /// What there is of the revision; the folder need not exist.
    pub fn snapshot(&self) -> Option<PathBuf> {
        if is_commit(&self.revision) {
            return Some(self.inner.pointer_path(&self.revision));
        }
        let reference = self.folder.join("refs").join(&self.revision);
        let short = fs::metadata(&reference).is_ok_and(|found| found.is_file() && found.len() <= 200);
        let commit = short.then(|| fs::read_to_string(reference).ok()).flatten()?;
        let commit = commit.trim();
        is_plain(commit).then(|| self.inner.pointer_path(commit))
    }

    /// The folder of a commit.
    pub fn snapshot_of(&self, commit: &str) -> Result<PathBuf> {
        plain(commit, "commit").map(|commit| self.inner.pointer_path(commit))
    }

    /// Where a file's contents go, by its etag.
    pub fn blob(&self, etag: &str) -> Result<PathBuf> {
        plain(etag, "etag").map(|etag| self.folder.join("blobs").join(etag))
    }

    /// Where they are while they arrive.
    pub fn part(&self, etag: &str) -> Result<PathBuf> {
        plain(etag, "etag").map(|etag| self.folder.join("blobs").join(format!("{etag}.incomplete")))
    }

    /// Held by whoever fetches this blob, Python or we; `None` while somebody else does.
    pub fn lock(&self, etag: &str) -> Result<Option<File>> {
        let path = self.locks.join(format!("{}.lock", plain(etag, "etag")?));
        fs::create_dir_all(&self.locks).map_err(|e| Error::io(&self.locks, e))?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            // Some network disks have no locks: then there is none to wait for.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Some(file)),
        }
    }

    /// Put a whole blob where the snapshot has this file.
    pub fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let (blob, path) = (self.blob(etag)?, self.snapshot_of(commit)?.join(name));
        if path.is_file() {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        // A link to a blob that was deleted.
        let _ = fs::remove_file(&path);
        let up = "../".repeat(name.split('/').count() + 1);
        let linked = symlink(Path::new(&format!("{up}blobs/{etag}")), &path);
        // Where there are no links the file itself goes there, as for the Python libraries.
        linked
            .or_else(|_| if path.is_file() { Ok(()) } else { fs::rename(&blob, &path) })
            .map_err(|e| Error::io(&path, e))
    }

    /// Remember what the revision stands for.
    pub fn remember(&self, commit: &str) -> Result<()> {
        if self.revision == commit {
            return Ok(());
        }
        write_with_folders(self.folder.join("refs").join(&self.revision), commit.as_bytes())
    }
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// One part of a path that leads nowhere else.
fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A server's word for a file name of the cache.
fn plain<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    if is_plain(text) {
        return Ok(text);
    }
    let shown = crate::text::shorten(text, 60);
    Err(Error::invalid(format!("the hub's server gave an {what} that cannot be used: {shown:?}; check HF_ENDPOINT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let id = HubId::parse("owner/name").unwrap();
        let cache = RepoCache::new(folder.path(), &id);
        for bad in ["", "..", "../../x", "/etc", "a/b", ".x", "a\0b"] {
            assert!(cache.blob(bad).is_err() && cache.part(bad).is_err() && cache.lock(bad).is_err(), "{bad:?}");
            assert!(cache.snapshot_of(bad).is_err(), "{bad:?}");
        }
        let refs = folder.path().join("models--owner--name/refs");
        fs::create_dir_all(&refs).unwrap();
        fs::write(refs.join("main"), "../../../etc").unwrap();
        assert_eq!(cache.snapshot(), None);
        fs::write(refs.join("main"), "abc\n").unwrap();
        assert_eq!(cache.snapshot(), Some(folder.path().join("models--owner--name/snapshots/abc")));
    }

    #[test]
    fn links_are_relative_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), &HubId::parse("owner/name").unwrap());
        let blob = cache.blob("e1").unwrap();
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, "text").unwrap();
        cache.link("c1", "a/b/file", "e1").unwrap();
        let path = cache.snapshot_of("c1").unwrap().join("a/b/file");
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../../../blobs/e1"));
        fs::rename(&blob, cache.blob("e2").unwrap()).unwrap();
        cache.link("c1", "a/b/file", "e2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }
}
