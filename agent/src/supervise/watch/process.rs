//! A process of this host that the agent did not start.

use std::time::Duration;

use systole_shared::UnixMillis;

/// A process, distinct from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervise) struct Process {
    /// Its id.
    pub(super) pid: u32,
    /// Its start, in the kernel's ticks since boot; `None` where the system does not show it.
    start_ticks: Option<u64>,
}

impl Process {
    /// The living process of that id.
    pub(super) fn find(pid: u32) -> Option<Process> {
        start_ticks(pid).map(|start_ticks| Process { pid, start_ticks })
    }

    /// Whether it is alive, and not a zombie.
    pub(in crate::supervise) fn is_alive(self) -> bool {
        Process::find(self.pid).is_some_and(|found| found.is_same(self))
    }

    /// Whether both are one process, as far as is known: a hidden start excludes nothing.
    pub(super) fn is_same(self, other: Process) -> bool {
        let starts = self.start_ticks.zip(other.start_ticks);
        self.pid == other.pid && starts.is_none_or(|(start, other)| start == other)
    }

    /// Time of the start, reckoned back from `now`.
    pub(super) fn started_at(self, now: UnixMillis) -> Option<UnixMillis> {
        let age = since_boot()?.checked_sub(ticks(self.start_ticks?)?)?;
        Some(now - i64::try_from(age.as_millis()).ok()?)
    }
}

/// The start of a living process; `None` inside where it cannot be known.
#[cfg(target_os = "linux")]
fn start_ticks(pid: u32) -> Option<Option<u64>> {
    judge_stat(std::fs::read(format!("/proc/{pid}/stat")), || exists(pid))
}

/// Where there is no such folder: whether a process has the id.
#[cfg(not(target_os = "linux"))]
fn start_ticks(pid: u32) -> Option<Option<u64>> {
    exists(pid).then_some(None)
}

/// What `/proc/PID/stat` says of a process; `None` for one that has ended or is a zombie. A host
/// mounted with `hidepid` shows the processes of others as if they were not there, so a file that
/// cannot be read proves nothing: the kernel is asked whether the process exists.
#[cfg(any(target_os = "linux", test))]
fn judge_stat(stat: std::io::Result<Vec<u8>>, exists: impl FnOnce() -> bool) -> Option<Option<u64>> {
    match stat {
        Ok(stat) => start_ticks_of(&stat),
        Err(_) => exists().then_some(None),
    }
}

/// Whether there is a process with this id. One that the agent must not signal exists, too.
fn exists(pid: u32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    i32::try_from(pid).is_ok_and(|pid| matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM)))
}

/// The start in the bytes of `/proc/PID/stat`. The name in it is bytes: the kernel cuts it anywhere,
/// also within a letter.
#[cfg(any(target_os = "linux", test))]
fn start_ticks_of(stat: &[u8]) -> Option<Option<u64>> {
    // The name is in brackets, and may hold brackets and spaces itself.
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    Some(Some(fields.nth(18)?.parse().ok()?))
}

/// Ticks as the kernel shows them to programs.
#[cfg(target_os = "linux")]
fn ticks(ticks: u64) -> Option<Duration> {
    let per_second = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1_000)? / per_second.max(1)))
}

/// The time since boot, sleep included. Not `/proc/uptime`, which containers are often shown as their own.
#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(not(target_os = "linux"))]
fn ticks(_ticks: u64) -> Option<Duration> {
    None
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_with_brackets_is_parsed() {
        let stat = |state: &[u8]| {
            let (name, rest) = (b"42 (a) b \xc3(c)) ", b" 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2");
            [&name[..], state, rest].concat()
        };
        assert_eq!(start_ticks_of(&stat(b"S")), Some(Some(987_654)));
        assert_eq!(start_ticks_of(&stat(b"Z")), None);
        assert_eq!(start_ticks_of(b"42 (x"), None);
    }

    #[test]
    fn process_that_is_hidden_is_not_gone() {
        let refused = |kind: std::io::ErrorKind| Err(std::io::Error::from(kind));
        for kind in [std::io::ErrorKind::NotFound, std::io::ErrorKind::PermissionDenied] {
            assert_eq!(judge_stat(refused(kind), || true), Some(None));
            assert_eq!(judge_stat(refused(kind), || false), None);
        }
        let (seen, hidden) = (Process { pid: 7, start_ticks: Some(1) }, Process { pid: 7, start_ticks: None });
        assert!(seen.is_same(hidden) && hidden.is_same(seen));
        assert!(!seen.is_same(Process { pid: 7, start_ticks: Some(2) }) && !seen.is_same(Process { pid: 8, ..seen }));
        assert!(exists(1) && exists(std::process::id()));
        assert!(!exists(i32::MAX.unsigned_abs()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn process_is_identified_by_start_and_gone_at_its_end() {
        let now = crate::clock::unix_millis();
        let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        let started = process.started_at(crate::clock::unix_millis()).unwrap();
        assert!((now - 100..now + 10_000).contains(&started), "{started} is not right behind {now}");
        assert!(process.is_alive());
        let another = Process { start_ticks: Some(1), ..process };
        assert!(!another.is_alive(), "the id was given to another process since");
        child.kill().unwrap();
        // Not collected yet: a zombie.
        while process.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(Process::find(child.id()), None);
    }
}
