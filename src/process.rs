//! What the system knows of this process.

/// Resident memory of this process, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(size).ok()?)
}

/// A line of this process's status, in MB.
pub fn status_mb(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = status.lines().find_map(|l| l.strip_prefix(key))?.split_whitespace().next()?.parse().ok()?;
    Some((kib * 1024.0 / 1e6).round())
}

/// Seconds that the CPUs have worked for this process, where the system tells.
pub fn cpu_seconds() -> Option<f64> {
    // In ticks of a hundredth, whatever the kernel's own clock is.
    const TICK: f64 = 0.01;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in brackets, may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) * TICK)
}

/// How often this thread has waited for something, not counting when the processor was taken from it, where the system tells.
pub fn thread_waits() -> Option<i64> {
    #[cfg(target_os = "linux")]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the call fills the record that it is given, for which all zeros are valid as well.
        let usage =
            unsafe { (libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) == 0).then(|| usage.assume_init()) };
        usage.map(|usage| usage.ru_nvcsw)
    }
    #[cfg(not(target_os = "linux"))]
    None
}
