//! The threads that tensor work is shared between.

use std::{
    env,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use prunelens_core::error::{Error, Result};

/// Use this many threads for tensor work.
///
/// # Safety
/// No other thread may be running: this changes the environment.
pub unsafe fn limit(threads: usize) {
    // rayon's pool, candle's and gemm's loops all read this variable, at their first use.
    // SAFETY: the caller says that no other thread runs.
    unsafe { env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
}

/// Start the threads that tensor work is shared between; where not so many can be had, fewer, and in the end this one alone.
/// `screen`: another thread will do the work, so that one of its own has to be there. To be called once.
pub fn start(wanted: Option<usize>, screen: bool) -> Result<()> {
    let wanted = wanted.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    // candle has threads of its own beside rayon's, and a checkpoint is written by one more.
    let needed = 2 * wanted + 1;
    let found = to_be_had(needed);
    let pool = rayon::ThreadPoolBuilder::new();
    if found == 0 && screen {
        return Err(Error::invalid("no thread can be started: the limit of processes is reached (see ulimit -u)"));
    }
    let threads = if found < needed { (found.saturating_sub(1) / 2).max(1) } else { wanted };
    if found < needed {
        tracing::warn!("only {found} of {needed} threads can be had");
        // SAFETY: no thread is running, those that were tried have ended.
        unsafe { limit(threads) };
    }
    let pool = pool.num_threads(threads);
    let pool = if found == 0 { pool.use_current_thread() } else { pool };
    // The pool can be made only once, and whoever made it before has one.
    let _ = pool.build_global();
    Ok(())
}

/// How many threads start at the same time, of so many.
fn to_be_had(wanted: usize) -> usize {
    let (hold, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let start = |_| {
        let released = released.clone();
        let wait = move || drop(released.lock().map(|released| released.recv()));
        thread::Builder::new().stack_size(64 << 10).spawn(wait).ok()
    };
    let started: Vec<_> = (0..wanted).map_while(start).collect();
    drop(hold);
    started.into_iter().filter_map(|thread| thread.join().ok()).count()
}
