//! How much memory the machine has, and how much of it may be taken.

use std::fs;

/// In bytes; what the system does not tell is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine.
    pub total: Option<u64>,
    /// That can be had without anybody suffering: within the machine's and the limit, where there is one.
    pub free: Option<u64>,
    /// What the container, or the group of processes, is allowed.
    pub limit: Option<u64>,
}

impl Memory {
    /// As it is now.
    #[must_use]
    pub fn read() -> Self {
        let group = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self::of(&meminfo, group("memory.max").as_deref(), group("memory.current").as_deref())
    }

    /// From the text of /proc/meminfo, and a control group's limit and use ("max" is none).
    fn of(meminfo: &str, max: Option<&str>, current: Option<&str>) -> Self {
        let line = |key: &str| {
            let kib = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            Some(kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let limit = max.and_then(number);
        let allowed = limit.zip(current.and_then(number)).map(|(limit, used)| limit.saturating_sub(used));
        let free = line("MemAvailable").map(|free| allowed.map_or(free, |allowed| allowed.min(free)));
        Self { total: line("MemTotal"), free, limit }
    }
}

/// What is free now; see [`Memory::free`].
#[must_use]
pub fn free() -> Option<u64> {
    Memory::read().free
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16384 kB\nMemFree:          512 kB\nMemAvailable:    8192 kB\n";
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_machine_without_a_limit_gives_what_it_has() {
        let memory = Memory { total: Some(16 * MIB), free: Some(8 * MIB), limit: None };
        assert_eq!(Memory::of(MEMINFO, None, None), memory);
        assert_eq!(Memory::of(MEMINFO, Some("max\n"), Some("4096\n")), memory);
        assert_eq!(Memory::of("", None, None), Memory::default());
    }

    #[test]
    fn a_container_gives_what_it_is_allowed() {
        let limited = |max: u64, used: u64| {
            let [max, used] = [max, used].map(|mib| format!("{}\n", mib * MIB));
            let memory = Memory::of(MEMINFO, Some(&max), Some(&used));
            (memory.limit.map(|b| b / MIB), memory.free.map(|b| b / MIB))
        };
        assert_eq!(limited(4, 1), (Some(4), Some(3)));
        assert_eq!(limited(4, 5), (Some(4), Some(0)), "more in use than allowed");
        assert_eq!(limited(64, 1), (Some(64), Some(8)), "the machine has less than is allowed");
    }

    #[test]
    fn free_memory_is_known_on_linux() {
        assert_eq!(free().is_some_and(|bytes| bytes > MIB), cfg!(target_os = "linux"));
    }
}
