//! How many files the agent may have open.
//!
//! Every pipeline takes pipes, sockets and log files, and the usual limit of 1,024 is enough for
//! some three hundred of them; so the agent raises its limit to the allowed one. Its children get the
//! original limit: a program that uses select(2) breaks with files beyond 1,023.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit is the process's, and so is the memory of what it was.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

/// Raises the limit to what is allowed.
pub(crate) fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            let _ = ORIGINAL.set(soft);
        }
        Ok(())
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files; it may be too low for many pipelines");
    }
}

/// An earlier program of this process has raised the limit from `soft` already.
pub(crate) fn set_original(soft: u64) {
    let _ = ORIGINAL.set(soft);
}

/// The soft limit before it was raised, if it was.
pub(crate) fn original() -> Option<u64> {
    ORIGINAL.get().copied()
}

/// Sets this process's soft limit.
#[cfg(target_os = "linux")]
pub(crate) fn lower(soft: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)
}
