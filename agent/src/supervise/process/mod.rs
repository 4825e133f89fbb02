//! One process of a pipeline: its start, its signals, its end.

pub(super) mod cgroup;
mod child;
pub(crate) mod exec;
pub(crate) mod orphans;
pub(super) mod output;
pub(crate) mod pid_stat;
mod pipe;
pub(crate) mod program;
pub(crate) mod rlimit;
pub(super) mod run;

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, User, geteuid};
use tokio::process::{Child, Command};

use self::cgroup::Group;
use self::program::ProgramError;
use crate::model::pipeline::CommandConfig;

/// Variables that hold the agent's secrets; no child may see them.
pub(crate) const SECRET_VARIABLES: [&str; 2] = ["SYSTOLE_TOKEN", "VF_TOKEN"];

/// Variables of systemd for the agent alone; children must not have them.
pub(crate) const SYSTEMD_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Why a process was not started. The text is the `reason` of the crash.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// The program cannot be executed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The working directory is no directory.
    #[error("working_dir {0} is no directory")]
    WorkingDir(String),
    /// It cannot run as the user of `run_as`.
    #[error("cannot run as {user}: {why}")]
    User {
        /// The user.
        user: String,
        /// What prevents it.
        why: String,
    },
    /// The system refused.
    #[error("cannot start {program}: {source}")]
    System {
        /// What was to be started.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Starts the command in its own process group, with these files as its output.
///
/// Must be called on the thread that lives as long as the agent: the kernel's signal at the
/// parent's death is one at the death of the thread that called.
///
/// It joins the control group of `group` first.
pub(super) fn spawn(
    config: &CommandConfig,
    group: Option<&Group>,
    stdout: Stdio,
    stderr: Stdio,
) -> Result<Child, SpawnError> {
    let mut command = command(config, group)?;
    command.stdout(stdout).stderr(stderr);
    command.spawn().map_err(|source| SpawnError::System { program: config.program.clone(), source })
}

/// The command, ready to be started: found, without the agent's secrets, its output to be read.
pub(super) fn command(config: &CommandConfig, group: Option<&Group>) -> Result<Command, SpawnError> {
    if let Some(dir) = config.working_dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(SpawnError::WorkingDir(dir.display().to_string()));
    }
    let own_path = std::env::var_os("PATH").unwrap_or_default();
    let search_path = config.env.get("PATH").map_or(own_path.as_os_str(), OsStr::new);
    let program = program::find(&config.program, search_path, config.working_dir.as_deref())?;
    let user = config.run_as.as_deref();
    let mut command = command_of(program.as_os_str(), config.limits.nice, group, user);
    command.args(&config.args);
    if let Some(user) = user {
        take_home_of(user, &mut command)?;
    }
    for name in SECRET_VARIABLES.into_iter().chain(SYSTEMD_VARIABLES) {
        command.env_remove(name);
    }
    command.envs(&config.env);
    if let Some(dir) = &config.working_dir {
        command.current_dir(dir);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// The environment of another user instead of the agent's own, as a log-in makes it.
fn take_home_of(name: &str, command: &mut Command) -> Result<(), SpawnError> {
    let refused = |why: String| SpawnError::User { user: name.to_owned(), why };
    let user = User::from_name(name).map_err(|error| refused(error.to_string()))?;
    let user = user.ok_or_else(|| refused("there is no such user on this host".to_owned()))?;
    if !geteuid().is_root() && geteuid() != user.uid {
        return Err(refused("only an agent that runs as root can start processes of another user".to_owned()));
    }
    command.env("HOME", user.dir).env("USER", name).env("LOGNAME", name);
    Ok(())
}

/// Through the agent itself; `/proc/self/exe` stays right when the file was replaced meanwhile.
#[cfg(target_os = "linux")]
fn command_of(program: &OsStr, nice: Option<i32>, group: Option<&Group>, user: Option<&str>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    let nice = nice.map_or_else(|| exec::AS_IT_IS.to_owned(), |nice| nice.to_string());
    let door = group.map_or_else(|| exec::AS_IT_IS.into(), Group::door);
    let open_files = rlimit::original().map_or_else(|| exec::AS_IT_IS.to_owned(), |limit| limit.to_string());
    command
        .arg0("systole-agent")
        .arg(exec::SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg(open_files)
        .arg(nice)
        .arg(door)
        .arg(user.unwrap_or(exec::AS_IT_IS))
        .arg(program);
    command
}

#[cfg(not(target_os = "linux"))]
fn command_of(program: &OsStr, _nice: Option<i32>, _group: Option<&Group>, _user: Option<&str>) -> Command {
    Command::new(program)
}

/// Signals the process and all others of its group. Whether there was one.
pub(crate) fn signal_group(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).is_ok_and(|pid| killpg(Pid::from_raw(pid), signal).is_ok())
}

/// Whether anything of the group of a process that has ended still lives.
pub(crate) fn group_lives(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // In a container the agent is often the first process, which inherits the orphans: without this
    // they would count as alive for ever.
    let collect = || waitpid(Pid::from_raw(-pid), Some(WaitPidFlag::WNOHANG));
    while collect().is_ok_and(|status| status != WaitStatus::StillAlive) {}
    killpg(Pid::from_raw(pid), None).is_ok()
}

/// Whether it was ended from outside: by a signal that a process does not raise for a fault of its own.
pub(crate) fn is_killed(status: &ExitStatus) -> bool {
    let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
    matches!(signal, Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT))
}

/// How a process ended, as a `reason`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by signal {number} ({})", signal.as_str()),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn inherited_orphans_are_reaped() {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 300 & sleep 300 & exit 0"]).process_group(0);
        let mut child = command.spawn().unwrap();
        let pid = child.id().unwrap();
        child.wait().await.unwrap();
        assert!(group_lives(pid));
        signal_group(pid, Signal::SIGKILL);
        let gone = async {
            while group_lives(pid) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
    }

    #[test]
    fn exit_reason_names_code_or_signal() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "exit code 1");
        assert_eq!(describe(ExitStatus::from_raw(0)), "exit code 0");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by signal 9 (SIGKILL)");
    }
}
