//! Files into the cache: one after the other, each going on where it stopped.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    HubId,
    cache::RepoCache,
    remote::{Arriving, Listed, Problem, Remote},
};
use crate::{
    digest::hex,
    error::{Error, Result},
};

/// What the two threads of a download know of each other.
#[derive(Default)]
pub struct Watch {
    pub done: AtomicU64,
    pub total: AtomicU64,
    /// Set when nobody waits for the files any more.
    pub stop: AtomicBool,
    /// What is being done, where it is not the download itself.
    pub waiting: Mutex<Option<String>>,
}

impl Watch {
    fn go_on(&self) -> Result<()> {
        if self.stop.load(Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    pub fn wait_for(&self, what: Option<String>) {
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = what;
        }
    }

    /// Stand still for a while, though not when asked to stop.
    fn pause(&self, time: Duration) -> Result<()> {
        const STEP: Duration = Duration::from_millis(20);
        let mut left = time;
        while !left.is_zero() {
            self.go_on()?;
            std::thread::sleep(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
        self.go_on()
    }
}

/// Attempts that bring nothing before giving up.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const CHUNK: usize = 1 << 18;

pub struct Download<'a> {
    pub id: &'a HubId,
    pub commit: &'a str,
    pub cache: &'a RepoCache,
    pub remote: &'a Remote<'a>,
    pub watch: &'a Watch,
}

impl Download<'_> {
    /// The file as part of the commit's snapshot.
    pub fn file(&self, listed: &Listed) -> Result<()> {
        let before = self.watch.done.load(Relaxed);
        let mut best = 0;
        again(self.watch, |failed| {
            let outcome = self.attempt(listed, before);
            // As long as more of it is there than ever before, it goes on.
            let reached = self.watch.done.load(Relaxed).saturating_sub(before);
            if reached > best {
                best = reached;
                *failed = 0;
            }
            outcome
        })
        .map_err(|problem| match problem {
            Problem::Final(error) => error,
            Problem::Passing(why) => Error::invalid(format!(
                "{}: {} did not arrive: {why}; what is there is kept, and the next start goes on from it",
                self.id, listed.name
            )),
        })
    }

    fn attempt(&self, listed: &Listed, before: u64) -> Result<(), Problem> {
        // Another revision may have brought the same contents.
        if let Some(etag) = &listed.etag
            && let Ok(found) = fs::metadata(self.cache.blob(etag)?)
            && listed.size.is_none_or(|size| size == found.len())
        {
            self.set_done(before + found.len(), before + found.len());
            return Ok(self.cache.link(self.commit, &listed.name, etag)?);
        }
        let first = self.remote.open(self.id, self.commit, &listed.name, 0)?;
        let etag = first.etag.clone().or_else(|| listed.etag.clone());
        let etag = etag.ok_or_else(|| self.refuse(listed, "the server gives it no etag, by which it could be kept"))?;
        let size = first.size.or(listed.size);
        let blob = self.cache.blob(&etag)?;
        let _lock = self.lock(&etag)?;
        if !blob.is_file() {
            self.fill(listed, first, &etag, size, before)?;
        }
        // A blob is whole, or it would not be there.
        let whole = fs::metadata(&blob).map_or(0, |found| found.len());
        self.set_done(before + whole, before + size.unwrap_or(whole));
        self.cache.link(self.commit, &listed.name, &etag)?;
        Ok(())
    }

    fn lock(&self, etag: &str) -> Result<File> {
        loop {
            if let Some(lock) = self.cache.lock(etag)? {
                self.watch.wait_for(None);
                return Ok(lock);
            }
            self.watch.wait_for(Some(format!("waiting for another download of {}", self.id)));
            self.watch.pause(Duration::from_millis(100))?;
        }
    }

    /// Bytes into the part file, from where it ends; then it becomes the blob.
    fn fill(
        &self,
        listed: &Listed,
        first: Arriving,
        etag: &str,
        size: Option<u64>,
        before: u64,
    ) -> Result<(), Problem> {
        let (part, blob) = (self.cache.part(etag)?, self.cache.blob(etag)?);
        let folder = part.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let partial = fs::metadata(&part).map_or(0, |found| found.len());
        let resume = partial > 0 && size.is_some_and(|size| partial <= size);
        let mut arriving = first;
        let complete = resume && Some(partial) == size;
        if resume && !complete {
            // Dropped before: an open answer that nobody reads keeps the connection.
            drop(arriving);
            arriving = self.remote.open(self.id, self.commit, &listed.name, partial)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&part)
            .map_err(|e| self.unwritable(&part, &e, 0, size))?;
        let mut at = if complete || (resume && arriving.start == partial) { partial } else { 0 };
        file.set_len(at).map_err(|e| Error::io(&part, e))?;
        // Large files are named by their hash.
        let mut hash = is_sha256(etag).then(Sha256::new);
        if let Some(hash) = &mut hash {
            io::copy(&mut (&file).take(at), hash).map_err(|e| Error::io(&part, e))?;
        }
        let mut chunk = vec![0; CHUNK];
        // To the answer's own end: only there it is known that it is not longer than announced.
        loop {
            if complete {
                break;
            }
            self.watch.go_on()?;
            self.set_done(before + at, before + size.unwrap_or(at));
            let n = match arriving.body.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.remote.broken(&e)),
            };
            if size.is_some_and(|size| at + n as u64 > size) {
                return Err(self.wrong_size(listed, &part, size, "more"));
            }
            file.write_all(&chunk[..n]).map_err(|e| self.unwritable(&part, &e, at, size))?;
            if let Some(hash) = &mut hash {
                hash.update(&chunk[..n]);
            }
            at += n as u64;
        }
        if size.is_some_and(|size| at != size) {
            return Err(self.wrong_size(listed, &part, size, &at.to_string()));
        }
        if hash.is_some_and(|hash| hex(&hash.finalize()) != etag.to_ascii_lowercase()) {
            // None of it can be trusted.
            let _ = fs::remove_file(&part);
            return Err(self.refuse(listed, "arrived damaged: its SHA-256 is not what the server says; run it again"));
        }
        file.sync_all().map_err(|e| self.unwritable(&part, &e, at, size))?;
        drop(file);
        fs::rename(&part, &blob).map_err(|e| Error::io(&blob, e))?;
        Ok(())
    }

    fn set_done(&self, done: u64, total: u64) {
        self.watch.done.store(done, Relaxed);
        self.watch.total.fetch_max(total, Relaxed);
    }

    fn refuse(&self, listed: &Listed, why: &str) -> Problem {
        Problem::Final(Error::invalid(format!("{}: {}: {why}", self.id, listed.name)))
    }

    /// The server contradicts itself: none of it can be trusted.
    fn wrong_size(&self, listed: &Listed, part: &Path, size: Option<u64>, found: &str) -> Problem {
        let _ = fs::remove_file(part);
        let size = size.unwrap_or_default();
        self.refuse(listed, &format!("wrong size: {size} bytes were announced, {found} came; run it again later"))
    }

    fn unwritable(&self, part: &Path, error: &io::Error, at: u64, size: Option<u64>) -> Error {
        let size = size.map_or(String::new(), |size| format!(" of {size}"));
        Error::invalid(format!(
            "{}: cannot be written beyond {at}{size} bytes ({error}); make room, or let HF_HOME name a folder on another \
             disk: the next start goes on from what is there",
            part.display()
        ))
    }
}

/// Until it works, or until it has failed too often; `work` may take failures back.
pub fn again<T>(watch: &Watch, mut work: impl FnMut(&mut u32) -> Result<T, Problem>) -> Result<T, Problem> {
    let mut failed = 0;
    loop {
        match work(&mut failed) {
            Err(Problem::Passing(why)) => {
                failed += 1;
                tracing::info!("{why}; attempt {failed} of {ATTEMPTS}");
                if failed >= ATTEMPTS {
                    return Err(Problem::Passing(why));
                }
                watch.pause(FIRST_PAUSE * (1 << failed))?;
            }
            other => return other,
        }
    }
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}
