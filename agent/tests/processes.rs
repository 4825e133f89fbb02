//! The real binary and real processes, without any collector: pipelines do not need one.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longest wait for anything here.
const SOON: Duration = Duration::from_secs(20);

/// An agent whose collector is a closed port.
struct Agent {
    process: Child,
    dir: TempDir,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole-agent"));
    command.current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

impl Agent {
    /// Starts an agent with one pipeline: a shell script that runs in the test's directory.
    fn start(script: &str) -> Agent {
        Agent::start_by(None, script)
    }

    /// Starts it by a shell that does something before it becomes the agent.
    fn start_by(before: Option<&str>, script: &str) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        let config = format!(
            "url = \"http://127.0.0.1:1\"\ndata_dir = \"{shown}/data\"\n[[pipeline]]\nid = \"p\"\n\
             command = [\"sh\", \"-c\", '{script}']\nworking_dir = \"{shown}\"\n"
        );
        fs::write(dir.path().join("agent.toml"), config).unwrap();
        let mut command = command(dir.path());
        if let Some(before) = before {
            let agent = std::mem::replace(&mut command, Command::new("sh"));
            command.current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
            command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(agent.get_program());
        }
        let process = command
            .args(["--config", "agent.toml"])
            .env("SYSTOLE_TOKEN", "secret")
            .env("VF_TOKEN", "secret")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Agent { process, dir }
    }

    /// Waits for the pipeline to have written a whole line into `file`.
    async fn line_of(&self, file: &str) -> String {
        let path = self.dir.path().join(file);
        let written = || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
        eventually(file, || written().map(|text| text.trim().to_owned())).await
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// A zombie that is not collected yet has ended, too.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn check_config(config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.toml"), config).unwrap();
    command(dir.path()).args(["check-config", "--config", "agent.toml"]).output().unwrap()
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn pipeline_starts_without_collector_and_ends_with_the_agent() {
    let mut agent = Agent::start("echo $$ > pid; exec sleep 300");
    let pid = agent.line_of("pid").await;
    assert!(lives(&pid));
    agent.signal(Signal::SIGKILL);
    agent.process.wait().unwrap();
    eventually("the end of the pipeline", || (!lives(&pid)).then_some(())).await;
}

#[tokio::test]
async fn stopped_agent_ends_all_process_groups() {
    let mut agent = Agent::start("sleep 300 & echo $! > child; wait");
    let child = agent.line_of("child").await;
    agent.signal(Signal::SIGTERM);
    let status = eventually("the end of the agent", || agent.process.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
    assert!(!lives(&child));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn agent_under_nohup_survives_sighup() {
    let mut agent = Agent::start_by(Some("trap \"\" HUP"), "echo $$ > pid; exec sleep 300");
    let pid = agent.line_of("pid").await;
    agent.signal(Signal::SIGHUP);
    // Its pipeline is killed now, and comes back: so the agent lives on.
    fs::remove_file(agent.dir.path().join("pid")).unwrap();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert_ne!(agent.line_of("pid").await, pid);
    assert!(agent.process.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn pipeline_does_not_see_the_agents_tokens() {
    let agent = Agent::start("env | grep -c TOKEN > tokens; exec sleep 300");
    assert_eq!(agent.line_of("tokens").await, "0");
}

#[test]
fn check_config_prints_or_exits_78_with_all_errors() {
    let good = check_config("url = \"http://c:1\"\ntoken = \"hunter2\"");
    let text = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0));
    assert!(text.contains("http://c:1") && !text.contains("hunter2"), "{text}");

    let bad = check_config("url = \"nowhere\"\ntoken = \"hunter2\"\ncolour = 1");
    let text = String::from_utf8(bad.stderr).unwrap();
    assert_eq!((bad.status.code(), bad.stdout.len()), (Some(78), 0));
    assert!(text.contains("url:") && text.contains("colour:") && !text.contains("hunter2"), "{text}");
}

#[test]
#[cfg(target_os = "linux")]
fn command_enters_its_cgroup_before_exec() {
    let door = tempfile::NamedTempFile::new().unwrap();
    let mut shim = Command::new(env!("CARGO_BIN_EXE_systole-agent"));
    shim.args(["__exec", &std::process::id().to_string(), "-", "5"]).arg(door.path());
    let output = shim.args(["-", "sh", "-c", "cat /proc/self/stat"]).output().unwrap();
    let stat = String::from_utf8(output.stdout).unwrap();
    assert_eq!(fs::read_to_string(door.path()).unwrap(), "0");
    assert_eq!(stat.rsplit_once(") ").unwrap().1.split(' ').nth(16), Some("5"), "the niceness in {stat}");
}
