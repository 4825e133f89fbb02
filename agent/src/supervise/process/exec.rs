//! The hidden subcommand `__exec`: a child becomes the pipeline's command through it.
//!
//! A command must not outlive an agent that is killed. The kernel can see to that (a signal at the
//! parent's death), but it must be asked from within the child, between fork and exec. The usual
//! hook for that, `pre_exec`, is unsafe; so the agent starts itself, asks, and only then becomes the
//! command. Linux only; elsewhere the command is started directly.

use std::process::ExitCode;

/// The subcommand's name. Its arguments: the agent's process id, the limit of open files, the
/// niceness, and the file through which it joins its control group (each or [`AS_IT_IS`]), the
/// program, the program's arguments.
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
    let (Some(agent), Some(open_files), Some(nice), Some(door), Some(program)) =
        (agent, args.next(), args.next(), args.next(), args.next())
    else {
        complain("this subcommand is the agent's own; it is not for people");
        return ExitCode::from(CANNOT_EXECUTE);
    };
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        complain(&format!("cannot ask for a signal at the agent's end: {error}"));
    }
    if getppid().as_raw() != agent {
        // It died before the kernel was asked, so no signal will come.
        return ExitCode::FAILURE;
    }
    if let Some(Err(error)) = open_files.to_str().and_then(|limit| limit.parse().ok()).map(rlimit::lower) {
        complain(&format!("cannot set the limit of open files back: {error}"));
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
    let error = std::process::Command::new(&program).args(args).exec();
    complain(&format!("cannot execute {}: {error}", program.display()));
    ExitCode::from(CANNOT_EXECUTE)
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
