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

/// Told how far the work is; an error ends it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;

/// How often whoever waits is let through.
const EVERY: Duration = Duration::from_millis(40);

/// Do something on a thread of its own that cannot be interrupted, and call `tick` meanwhile; where that ends the wait, the thread
/// is left to itself. Without a thread to be had it is done here, in one go.
pub fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    mut tick: impl FnMut() -> Result<()>,
) -> Result<T> {
    tick()?;
    let work = Arc::new(Mutex::new(Some(work)));
    let (send, receive) = mpsc::channel();
    let take = {
        let work = work.clone();
        move || work.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    let there = take.clone();
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(work) = there() {
            // Nobody listens any more if this was ended.
            let _ = send.send(work());
        }
    });
    if let Err(error) = started
        && let Some(work) = take()
    {
        tracing::warn!("no thread for {name}: {error}");
        return work();
    }
    loop {
        match receive.recv_timeout(EVERY) {
            Ok(Ok(done)) => {
                // How it ended is heard, too.
                tick()?;
                return Ok(done);
            }
            Ok(failed) => return failed,
            Err(mpsc::RecvTimeoutError::Timeout) => tick()?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::invalid(format!("{name}: its thread stopped without a word")));
            }
        }
    }
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
    }
}
