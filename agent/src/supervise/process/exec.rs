//! The hidden subcommand `__exec`: a child becomes the pipeline's command through it.
//!
//! A command must not outlive an agent that is killed. The kernel can see to that (a signal at the
//! parent's death), but the child must request it, between fork and exec. The usual
//! hook for that, `pre_exec`, is unsafe; so the agent starts itself, requests the signal, and then becomes the
//! command. Linux only; elsewhere the command is started directly.

use std::process::ExitCode;

/// The subcommand's name. Its arguments: the agent's process id, the limit of open files, the
/// niceness, the file through which it joins its control group, and the user that it runs as (each or
/// [`AS_IT_IS`]), the program, the program's arguments.
pub(crate) const SUBCOMMAND: &str = "__exec";

/// Stands for a limit, a niceness or a group that is to stay.
pub(crate) const AS_IT_IS: &str = "-";

/// Exit code when the program cannot be executed, as shells have it.
const CANNOT_EXECUTE: u8 = 126;

/// Becomes the command. Returns only if that fails.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    use std::os::unix::process::CommandExt;

    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use nix::unistd::getppid;

    use super::rlimit;

    let mut args = args;
    let agent = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(agent), Some(open_files), Some(nice), Some(door), Some(user), Some(program)) =
        (agent, args.next(), args.next(), args.next(), args.next(), args.next())
    else {
        complain("this subcommand is internal");
        return ExitCode::from(CANNOT_EXECUTE);
    };
    if let Some(Err(error)) = open_files.to_str().and_then(|limit| limit.parse().ok()).map(rlimit::lower) {
        complain(&format!("cannot restore the limit of open files: {error}"));
    }
    if let Some(nice) = nice.to_str().and_then(|nice| nice.parse().ok())
        && let Err(error) = rustix::process::setpriority_process(None, nice)
    {
        complain(&format!("cannot run with nice = {nice}: {error}"));
    }
    // A zero stands for the process that writes it.
    if door != AS_IT_IS
        && let Err(error) = std::fs::write(&door, "0")
    {
        complain(&format!("runs without its limits: {} cannot be written: {error}", door.display()));
    }
    if user != AS_IT_IS
        && let Err(error) = become_user(&user)
    {
        // Never with more rights than the configuration allows.
        complain(&format!("cannot run as {}: {error}", user.display()));
        return ExitCode::from(CANNOT_EXECUTE);
    }
    // After the change of the user, which takes such a request back.
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        complain(&format!("cannot request a signal at the agent's end: {error}"));
    }
    if getppid().as_raw() != agent {
        // It died before the kernel was asked, so no signal will come.
        return ExitCode::FAILURE;
    }
    let error = std::process::Command::new(&program).args(args).exec();
    complain(&format!("cannot execute {}: {error}", program.display()));
    ExitCode::from(CANNOT_EXECUTE)
}

/// Becomes the user, with the user's groups and none of the agent's.
#[cfg(target_os = "linux")]
fn become_user(name: &std::ffi::OsStr) -> Result<(), String> {
    use nix::unistd::{User, geteuid, initgroups, setgid, setuid};

    let name = name.to_str().ok_or("its name is no text")?;
    let user = User::from_name(name).map_err(|error| error.to_string())?;
    let user = user.ok_or("there is no such user on this host")?;
    if geteuid() == user.uid && !geteuid().is_root() {
        return Ok(());
    }
    let c_name = std::ffi::CString::new(name).map_err(|error| error.to_string())?;
    let become_it = || {
        initgroups(&c_name, user.gid)?;
        setgid(user.gid)?;
        setuid(user.uid)
    };
    become_it().map_err(|error: nix::Error| error.to_string())
}

/// Not needed on this platform.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    complain("this subcommand is for Linux");
    ExitCode::from(CANNOT_EXECUTE)
}

/// Standard error is the pipeline's here: the agent reads it as one of its lines.
#[expect(clippy::print_stderr, reason = "there is no log in this process")]
fn complain(what: &str) {
    eprintln!("error: systole-agent: {what}");
}
