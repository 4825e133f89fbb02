//! What the agent takes of the host.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// CPU time of the whole process, without its children.
pub(super) fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let sum = usage.user_time() + usage.system_time();
    let micros = u64::try_from(sum.tv_usec()).ok()?;
    Some(Duration::from_secs(u64::try_from(sum.tv_sec()).ok()?) + Duration::from_micros(micros))
}

/// Resident memory in bytes. Linux only.
pub(super) fn resident_bytes() -> Option<u64> {
    // As bytes: the name in it is cut at 15, which may be within a letter.
    let status = std::fs::read("/proc/self/status").ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Open files. Linux only.
pub(super) fn open_files() -> Option<usize> {
    // The directory itself is open while it is read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}
