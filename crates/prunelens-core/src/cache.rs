//! What took long to make, kept under the name of what it was made from: a key is a digest of all of it. Entries are
//! checked when they are read, the one not used for longest goes first, and whatever is wrong with the folder costs time,
//! never an answer.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    digest::of_bytes,
    error::{Error, Result},
    files::write_parts,
    model::weights::read_at,
};

/// A folder of entries, bounded in size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
    /// Bytes that all entries may take together.
    limit: u64,
}

/// What an entry begins with, as a line of JSON; its bytes follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    kind: String,
    key: String,
    about: String,
    bytes: u64,
    /// [`of_bytes`].
    digest: String,
}

/// An entry as users see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What it holds: "masks", "copies", "norms", "examples".
    pub kind: String,
    /// What it was made from, in a few words.
    pub about: String,
    /// Size of its file.
    pub bytes: u64,
    /// Seconds since it was last used.
    pub unused_seconds: u64,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    used: SystemTime,
}

const EXTENSION: &str = "cache";
/// No header is anywhere near this long.
const LONGEST_HEADER: u64 = 1 << 16;
/// Entries that are looked at.
const MOST: usize = 10_000;

impl Cache {
    /// At most `limit` bytes in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self { folder: folder.into(), limit }
    }

    /// Where the entries are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that all entries may take together.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes kept under a key, if they are there and whole.
    pub fn get(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        let path = self.path(kind, key);
        let found = read(&path, self.limit).filter(|(header, bytes)| {
            header.kind == kind
                && header.key == key
                && header.bytes == bytes.len() as u64
                && header.digest == of_bytes(bytes)
        });
        match found {
            Some((_, bytes)) => {
                // Used now; a file system that keeps no times only makes the order of leaving worse.
                let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(bytes)
            }
            None => {
                // Damaged: it would be read in vain every time.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keep bytes under a key, and let what was not used for longest go where room is needed.
    pub fn put(&self, kind: &str, key: &str, about: &str, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.limit {
            return Ok(());
        }
        let header = Header {
            kind: kind.into(),
            key: key.into(),
            about: about.into(),
            bytes: bytes.len() as u64,
            digest: of_bytes(bytes),
        };
        let path = self.path(kind, key);
        let header = serde_json::to_vec(&header).map_err(|e| Error::file(&path, e.to_string()))?;
        write_parts(&path, &[&header, b"\n", bytes])?;
        let mut entries = self.entries();
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        while total > self.limit {
            let Some(oldest) = entries.pop() else { break };
            if oldest.path != path && fs::remove_file(&oldest.path).is_ok() {
                total -= oldest.bytes;
            }
        }
        Ok(())
    }

    /// What is kept under a key if `read` takes it, else what `make` makes, which is kept from now on.
    pub fn keep<T>(
        &self,
        (kind, key, about): (&str, &str, &str),
        read: impl FnOnce(&[u8]) -> Option<T>,
        write: impl FnOnce(&T) -> Vec<u8>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(kept) = self.get(kind, key).and_then(|bytes| read(&bytes)) {
            return Ok(kept);
        }
        let made = make()?;
        if let Err(error) = self.put(kind, key, about, &write(&made)) {
            tracing::warn!("{kind} are not kept: {error}");
        }
        Ok(made)
    }

    /// What is kept, the last used first.
    pub fn entries(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let ours = files.filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).take(MOST);
        let mut entries: Vec<Entry> = ours.filter_map(|path| describe(&path)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        entries
    }

    /// Remove everything; gives the bytes that are free again.
    pub fn clear(&self) -> Result<u64> {
        let mut freed = 0;
        for entry in self.entries() {
            fs::remove_file(&entry.path).map_err(|e| Error::io(&entry.path, e))?;
            freed += entry.bytes;
        }
        Ok(freed)
    }

    fn path(&self, kind: &str, key: &str) -> PathBuf {
        let short = key.get(..32).unwrap_or(key);
        self.folder.join(format!("{kind}-{short}.{EXTENSION}"))
    }
}

fn describe(path: &Path) -> Option<Entry> {
    let metadata = fs::metadata(path).ok().filter(|found| found.is_file())?;
    let used = metadata.modified().ok()?;
    let header = header(&mut BufReader::new(File::open(path).ok()?));
    // What is not an entry is still in the way, and goes with the rest.
    let (kind, about) = header.map_or(("unknown".into(), "damaged".into()), |h| (h.kind, h.about));
    let unused_seconds = used.elapsed().unwrap_or_default().as_secs();
    Some(Entry { kind, about, bytes: metadata.len(), unused_seconds, path: path.to_path_buf(), used })
}

fn header(reader: &mut impl BufRead) -> Option<Header> {
    let mut line = Vec::new();
    reader.take(LONGEST_HEADER).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

fn read(path: &Path, limit: u64) -> Option<(Header, Vec<u8>)> {
    /// Bytes that a thread reads at a time.
    const PART: usize = 1 << 22;
    let mut reader = BufReader::new(File::open(path).ok()?);
    let header = header(&mut reader)?;
    let start = reader.stream_position().ok()?;
    let file = reader.into_inner();
    // No more than is there: the header may say anything.
    let left = file.metadata().ok()?.len().checked_sub(start)?;
    if left != header.bytes || left > limit {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(left).ok()?];
    let parts = bytes.par_chunks_mut(PART).enumerate();
    parts.try_for_each(|(at, part)| read_at(&file, part, start + (at * PART) as u64)).ok()?;
    Some((header, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("made"), 1000);
        assert_eq!(cache.get("masks", "a"), None);
        cache.put("masks", "a", "gpt2, wanda", b"bits").unwrap();
        assert_eq!(cache.get("masks", "a").unwrap(), b"bits");
        assert_eq!(cache.get("norms", "a"), None, "another kind");
        let entry = &cache.entries()[0];
        assert_eq!((entry.kind.as_str(), entry.about.as_str()), ("masks", "gpt2, wanda"));
        let path = entry.path.clone();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get("masks", "a"), None, "a bit was changed");
        assert!(!path.exists(), "and it is gone");
    }

    #[test]
    fn the_oldest_goes_where_room_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), 1300);
        for (age, key) in [(30, "a"), (20, "b"), (10, "c")] {
            cache.put("masks", key, key, &[0; 300]).unwrap();
            let file = File::options().append(true).open(cache.path("masks", key)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        assert!(cache.get("masks", "a").is_none() || cache.entries().len() <= 3);
        cache.put("masks", "d", "d", &[0; 300]).unwrap();
        assert!(cache.get("masks", "d").is_some());
        let total: u64 = cache.entries().iter().map(|entry| entry.bytes).sum();
        assert!(total <= 1300, "{total}");
        cache.put("masks", "e", "e", &[0; 2000]).unwrap();
        assert!(cache.get("masks", "e").is_none(), "larger than everything may be");
        assert!(cache.clear().unwrap() > 0 && cache.entries().is_empty());
    }
}
