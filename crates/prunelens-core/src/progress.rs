//! How far a long piece of work is.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use crate::error::{Error, Result};

/// How far a long step of loading is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The step, in words.
    pub what: String,
    /// Units done.
    pub done: u64,
    /// 0: unknown.
    pub total: u64,
    /// "bytes", "layers", "tokens" ...
    pub unit: &'static str,
}

impl Progress {
    /// A step of which it is not known how long it is.
    pub fn step(what: impl Into<String>) -> Self {
        Self { what: what.into(), done: 0, total: 0, unit: "" }
    }
}

/// Called between layers and chunks of long work; an error ends the work. Metric jobs answer the user from here.
pub type Tick<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Told how far the work is; an error ends it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;

/// How often whoever waits is let through.
const EVERY: Duration = Duration::from_millis(40);

/// Work that was begun on a thread of its own and cannot be interrupted.
pub struct Pending<T> {
    name: &'static str,
    done: mpsc::Receiver<Result<T>>,
}

impl<T: Send + 'static> Pending<T> {
    /// Without a thread to be had it is done here, in one go.
    pub fn new(name: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        let work = Arc::new(Mutex::new(Some(work)));
        let (send, done) = mpsc::channel();
        let (there, back) = (work.clone(), send.clone());
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(work) = take(&there) {
                // Nobody listens any more if the wait was ended.
                let _ = back.send(work());
            }
        });
        if let Err(error) = started
            && let Some(work) = take(&work)
        {
            tracing::warn!("no thread for {name}: {error}");
            let _ = send.send(work());
        }
        Self { name, done }
    }

    /// What it gave; `tick` is called meanwhile. Where that ends the wait, the thread is left to itself.
    pub fn wait(self, mut tick: impl FnMut() -> Result<()>) -> Result<T> {
        loop {
            match self.done.recv_timeout(EVERY) {
                Ok(done) => return done,
                Err(mpsc::RecvTimeoutError::Timeout) => tick()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::invalid(format!("{}: its thread stopped without a word", self.name)));
                }
            }
        }
    }
}

fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Do something aside, and call `tick` before, meanwhile and after.
pub fn aside<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    mut tick: impl FnMut() -> Result<()>,
) -> Result<T> {
    tick()?;
    let done = Pending::new(name, work).wait(&mut tick)?;
    // How it ended is heard, too.
    tick()?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_let_through_and_can_leave() {
        let (open, gate) = mpsc::channel::<()>();
        let mut times = 0;
        let found = aside(
            "waiting",
            move || Ok(gate.recv().is_ok()),
            || {
                times += 1;
                if times == 2 {
                    open.send(()).unwrap();
                }
                Ok(())
            },
        );
        assert!(found.unwrap() && times >= 2);
        let left = aside::<()>(
            "endless",
            || loop {
                std::thread::park()
            },
            || Err(Error::Interrupted),
        );
        assert!(matches!(left, Err(Error::Interrupted)));
        let failed = aside::<()>("failing", || Err(Error::invalid("no")), || Ok(()));
        assert!(failed.unwrap_err().to_string().contains("no"));
        let gone = Pending::<()>::new("gone", || panic!("for the test")).wait(|| Ok(()));
        assert!(gone.unwrap_err().to_string().contains("gone: its thread stopped"));
    }
}
