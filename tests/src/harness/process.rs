//! A child process with its output in a file; it is killed when its handle is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Lines of output that a failing test shows of each process.
const SHOWN_LINES: usize = 60;

/// A running program under test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with a clean environment of our own variables; both output streams go to the
    /// end of `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        for (key, _) in std::env::vars_os() {
            let ours = ["SYSTOLE_", "VF_", "STUB_", "VECTOR_"];
            if key.to_str().is_some_and(|key| ours.iter().any(|prefix| key.starts_with(prefix))) {
                command.env_remove(&key);
            }
        }
        let out = File::options().create(true).append(true).open(log).expect("the log file opens");
        let err = out.try_clone().expect("the log file opens twice");
        let child = command
            // A stub ends when this test process is killed: see the flag `--lease-pid`.
            .env("STUB_LEASE_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The process's id; panics when it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// The exit status, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(pid(self.pid()), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }

    /// Waits for the end; panics when it does not come in time.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} has not ended within {limit:?}", self.name),
        }
    }

    /// Everything that it wrote so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            print(&format!("---- last lines of {} ----\n{tail}\n", self.name));
        }
        let _ = self.child.start_kill();
    }
}

/// The process with this id, for signals.
pub fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a process id is a positive i32"))
}

#[expect(clippy::print_stderr, reason = "the output of a failing test")]
fn print(text: &str) {
    eprint!("{text}");
}
