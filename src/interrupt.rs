//! Ctrl-C in commands without a screen: a flag that long work looks at between its steps.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use prunelens_core::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on the first SIGINT, SIGTERM or SIGHUP asks the work to stop; a second one ends the process at once.
pub fn watch() -> Result<()> {
    let stop = STOP.get_or_init(Default::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset, passes the shutdown by, and sets it for the second.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|e| Error::invalid(format!("cannot watch for signals: {e}")))?;
    }
    Ok(())
}

/// From now on a write beyond the limit on file sizes (`ulimit -f`) fails, with a message, instead of ending the process.
pub fn outlive_file_limits() {
    // Any handler will do; where none can be set the process ends as it would have.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// `Err(Error::Interrupted)` once the user asked to stop; long work calls it as its tick.
pub fn tick() -> Result<()> {
    match STOP.get() {
        Some(stop) if stop.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}
