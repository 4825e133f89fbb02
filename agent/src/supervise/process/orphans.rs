//! Reaps orphans. In a container the agent is often the first process, and the kernel makes it the
//! parent of every process whose own parent has ended. Such a process stays a zombie until its parent
//! waits for it, and zombies fill the table of processes.
//!
//! Not `waitpid(-1)`: it would take the exit status of the agent's own children from tokio. So every
//! child that the agent starts holds an [`OwnChild`], and what is reaped is a zombie without one.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The agent's own children. As many as there are pipelines and short commands at once.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Keeps a child of the agent from being reaped as an orphan while this exists.
#[derive(Debug)]
pub(crate) struct OwnChild(u32);

impl OwnChild {
    /// Of a child that was just started; `pid` is none when it has been waited for already.
    pub(crate) fn new(pid: Option<u32>) -> Option<Self> {
        let pid = pid?;
        own().insert(pid);
        Some(OwnChild(pid))
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        own().remove(&self.0);
    }
}

/// Kills the agent's own children except these: short commands whose answer no program waits for any more.
pub(crate) fn kill_all_except(pids: &BTreeSet<u32>) {
    for pid in own().difference(pids).filter_map(|pid| i32::try_from(*pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    // The set is whole after every statement.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaps orphans for as long as it is polled, if this process inherits any: from other processes, or from the
/// program that it ran before (`has_predecessor`).
#[cfg(target_os = "linux")]
pub(crate) async fn reap(has_predecessor: bool) {
    use std::time::Duration;

    use tokio::time::{MissedTickBehavior, interval};

    /// Between two rounds. A zombie costs little, but not for ever.
    const EVERY: Duration = Duration::from_secs(1);

    let inherits =
        has_predecessor || std::process::id() == 1 || nix::sys::prctl::get_child_subreaper().unwrap_or(false);
    if !inherits {
        return;
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = BTreeSet::new();
    loop {
        ticks.tick().await;
        seen = linux::reap_round(&seen);
    }
}

/// Nothing inherits orphans but the system's first process.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn reap(_has_predecessor: bool) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;

    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    use nix::unistd::Pid;

    use super::own;

    /// Reaps the orphans that were `seen` a round ago; returns those that are seen now. A child between
    /// its start and its [`super::OwnChild`] is not seen twice.
    pub(super) fn reap_round(seen: &BTreeSet<u32>) -> BTreeSet<u32> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if !waitid(Id::All, look).is_ok_and(|status| status != WaitStatus::StillAlive) {
            return BTreeSet::new();
        }
        let mut zombies = zombies_of(std::process::id());
        zombies.retain(|pid| !own().contains(pid));
        for &pid in zombies.intersection(seen) {
            let Ok(pid) = i32::try_from(pid) else { continue };
            if let Ok(status) = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
                tracing::debug!(pid, ?status, "reaped an orphan");
            }
        }
        zombies
    }

    /// The children of a process that have ended and wait for it.
    fn zombies_of(parent: u32) -> BTreeSet<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &u32| std::fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_zombie(&stat, parent)))
            .collect()
    }

    fn is_zombie(stat: &[u8], parent: u32) -> bool {
        let Some(end_of_name) = stat.iter().rposition(|&byte| byte == b')') else { return false };
        let mut fields = stat[end_of_name + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        fields.next() == Some(b"Z") && fields.next() == Some(parent.to_string().as_bytes())
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::supervise::process::orphans::OwnChild;

        #[test]
        fn zombie_is_known_by_state_and_parent() {
            assert!(is_zombie(b"42 (a) Z 7) \xc3) Z 1 42", 1));
            assert!(!is_zombie(b"42 (a) S 1 42", 1) && !is_zombie(b"42 (a) Z 2 42", 1) && !is_zombie(b"42", 1));
        }

        #[test]
        fn zombie_is_reaped_in_the_second_round_unless_it_is_an_own_child() {
            let mut own = std::process::Command::new("true").spawn().unwrap();
            let mut stranger = std::process::Command::new("true").spawn().unwrap();
            let guard = OwnChild::new(Some(own.id()));
            let parent = std::process::id();
            while !zombies_of(parent).is_superset(&BTreeSet::from([own.id(), stranger.id()])) {
                std::thread::yield_now();
            }
            // Other tests may have children in this process.
            let both = BTreeSet::from([own.id(), stranger.id()]);
            let seen = &reap_round(&BTreeSet::new()) & &both;
            assert!(seen.contains(&stranger.id()) && !seen.contains(&own.id()));
            assert!(zombies_of(parent).contains(&stranger.id()), "not in the first round");
            reap_round(&seen);
            assert!(stranger.wait().is_err(), "it was reaped");
            assert!(own.wait().unwrap().success(), "its status was left to its owner");
            drop(guard);
        }
    }
}
