//! Whether the host itself is shutting down, for the last report of an agent that ends.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long systemd may take to answer: the last report has two seconds in all.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Asks systemd; without one, or without an answer in time, the host is taken to stay up. The exit
/// code is not used: it is not zero for every state but `running`.
pub(super) async fn is_shutting_down() -> bool {
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(ANSWER_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        _ => false,
    }
}
