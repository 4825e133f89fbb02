//! The process of a pipeline as its parent sees it: started by this program, or by the program that this
//! process ran before it replaced itself.
//!
//! After `exec` the process keeps its id and its children, but the new program has no handle on them. The
//! kernel still accepts `waitpid` for them, so an adopted child is waited for by its id.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Between two checks of an adopted child: its end is signalled, this is for a signal that is lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What the kernel adds to the status of a process that left a core dump.
const CORE_DUMPED: i32 = 0x80;

/// The process of a pipeline.
#[derive(Debug)]
pub(super) enum PipelineChild {
    /// This program started it.
    Started(Child),
    /// The program before this one started it.
    Adopted(AdoptedChild),
}

/// A child whose id is all that is known of it.
#[derive(Debug)]
pub(super) struct AdoptedChild {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl PipelineChild {
    /// Waits for its end. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            PipelineChild::Started(child) => child.wait().await,
            PipelineChild::Adopted(child) => child.wait().await,
        }
    }
}

impl AdoptedChild {
    /// The child with this id.
    pub(super) fn new(pid: i32) -> Self {
        AdoptedChild { pid: Pid::from_raw(pid), status: None }
    }

    /// Waits for its end. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Before the first check: an end between the two is signalled.
        let mut ends = signal(SignalKind::child())?;
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            tokio::select! {
                _ = ends.recv() => {}
                () = sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Its status, if it has ended.
    fn poll(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => Some(ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(_, signal, has_core)) => {
                    Some(ExitStatus::from_raw(signal as i32 | if has_core { CORE_DUMPED } else { 0 }))
                }
                Ok(_) | Err(Errno::EINTR) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.status)
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, kill};

    use super::*;

    fn adopt(program: &mut std::process::Command) -> AdoptedChild {
        AdoptedChild::new(program.spawn().unwrap().id().try_into().unwrap())
    }

    #[tokio::test]
    async fn adopted_child_is_waited_for_by_its_id() {
        let mut exits = adopt(std::process::Command::new("sh").args(["-c", "exit 3"]));
        assert_eq!(exits.wait().await.unwrap().code(), Some(3));
        assert_eq!(exits.wait().await.unwrap().code(), Some(3), "asked again");
        let mut sleeps = adopt(std::process::Command::new("sleep").arg("300"));
        assert_eq!(sleeps.poll().unwrap(), None);
        kill(sleeps.pid, Signal::SIGKILL).unwrap();
        assert_eq!(sleeps.wait().await.unwrap().signal(), Some(9));
    }
}
