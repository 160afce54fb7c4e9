//! Keeps what was read of a corpus: now and then while it is read, without making the user wait for the disk, and when it is
//! whole or left.

use std::{
    thread::JoinHandle,
    time::{Duration, Instant},
};

use prunelens_core::{error::Result, index::Indexing, sae::Setting, session::Session};
use prunelens_metrics::keeper::{EVERY, SHARE};

/// Looks after the kept copy of one index.
pub struct Keeping {
    every: Duration,
    next: Instant,
    /// What is kept: so many rows, with `pruned` at this setting.
    kept: Option<(usize, Setting)>,
    writing: Option<JoinHandle<Result<()>>>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { every: EVERY, next: Instant::now() + EVERY, kept: None, writing: None }
    }
}

impl Keeping {
    /// This much comes from the cache.
    pub fn found(&mut self, indexing: &Indexing) {
        self.kept = Some(holds(indexing));
    }

    /// Keep it if it is time to: from a thread of its own.
    pub fn now_and_then(&mut self, session: &Session, indexing: &Indexing) {
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || Instant::now() < self.next {
            return;
        }
        self.wait();
        let started = Instant::now();
        let keep = session.keep_index(indexing);
        self.next = Instant::now() + self.every.max(started.elapsed() * SHARE);
        if let Some(keep) = keep {
            self.kept = Some(holds(indexing));
            match std::thread::Builder::new().name("examples".into()).spawn(keep) {
                Ok(thread) => self.writing = Some(thread),
                Err(error) => tracing::warn!("examples are not kept: cannot start a thread: {error}"),
            }
        }
    }

    /// Keep it before the work ends, if there is more of it than is kept.
    pub fn now(&mut self, session: &Session, indexing: &Indexing) {
        self.wait();
        if indexing.index.read > 0 && self.kept != Some(holds(indexing)) {
            self.kept = Some(holds(indexing));
            warn(session.keep_index(indexing).map_or(Ok(()), |keep| keep()));
        }
    }

    fn wait(&mut self) {
        match self.writing.take().map(JoinHandle::join) {
            Some(Ok(written)) => warn(written),
            Some(Err(_)) => tracing::warn!("examples are not kept: the thread that writes them has ended"),
            None => {}
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.wait();
    }
}

fn holds(indexing: &Indexing) -> (usize, Setting) {
    (indexing.index.read, indexing.index.setting)
}

fn warn(kept: Result<()>) {
    if let Err(error) = kept {
        tracing::warn!("examples are not kept: {error}");
    }
}
