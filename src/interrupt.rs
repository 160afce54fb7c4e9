//! Ctrl-C in commands without a screen: a flag that long work looks at between its steps.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use prunelens_core::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on the first SIGINT, SIGTERM or SIGHUP asks the work to stop; a second SIGINT or SIGHUP ends the process at once. A
/// second SIGTERM does not: schedulers send it to a script and to all it started, and the script may pass it on.
pub fn watch() -> Result<()> {
    let stop = STOP.get_or_init(Default::default);
    let failed = |e| Error::invalid(format!("cannot watch for signals: {e}"));
    for signal in [SIGINT, SIGHUP] {
        // Before the next: the first signal finds the flag unset, passes the shutdown by, and sets it for the second.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone()).map_err(failed)?;
    }
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).map_err(failed)?;
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
