//! A process of this host that is not ours.

use std::time::Duration;

use systole_shared::UnixMillis;

/// A process, told from a later one that was given the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipelines) struct Process {
    /// Its id.
    pub(super) pid: u32,
    /// Its start, in the kernel's ticks since boot; `None` where the system does not tell.
    start_ticks: Option<u64>,
}

impl Process {
    /// The living process of that id.
    pub(super) fn find(pid: u32) -> Option<Process> {
        start_ticks(pid).map(|start_ticks| Process { pid, start_ticks })
    }

    /// Whether it lives, and is not only waiting to be collected.
    pub(in crate::pipelines) fn is_alive(self) -> bool {
        Process::find(self.pid) == Some(self)
    }

    /// When it was started, reckoned back from `now`.
    pub(super) fn started_at(self, now: UnixMillis) -> Option<UnixMillis> {
        let age = since_boot()?.checked_sub(ticks(self.start_ticks?)?)?;
        Some(now - i64::try_from(age.as_millis()).ok()?)
    }
}

/// The start in `/proc/PID/stat`; `None` for one that is not there, has ended, or is a zombie.
#[cfg(target_os = "linux")]
fn start_ticks(pid: u32) -> Option<Option<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_ticks_of(&stat)
}

/// Where there is no such folder: whether anyone has the id.
#[cfg(not(target_os = "linux"))]
fn start_ticks(pid: u32) -> Option<Option<u64>> {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    let answer = kill(Pid::from_raw(i32::try_from(pid).ok()?), None);
    matches!(answer, Ok(()) | Err(Errno::EPERM)).then_some(None)
}

#[cfg(any(target_os = "linux", test))]
fn start_ticks_of(stat: &str) -> Option<Option<u64>> {
    // The name is in brackets, and may hold brackets and spaces itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
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
    fn a_name_with_brackets_and_spaces_hides_neither_state_nor_start() {
        let stat =
            |state: &str| format!("42 (a) b (c)) {state} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2");
        assert_eq!(start_ticks_of(&stat("S")), Some(Some(987_654)));
        assert_eq!(start_ticks_of(&stat("Z")), None);
        assert_eq!(start_ticks_of("42 (x"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_known_by_its_start_and_gone_as_soon_as_it_has_ended() {
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
