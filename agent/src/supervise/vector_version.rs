//! The version of the Vector on this node, read once.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::process::SECRET_VARIABLES;
use super::process::orphans::OwnChild;
use crate::model::pipeline::CommandConfig;

/// How long `vector --version` may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the first of these programs that is Vector.
pub(crate) async fn version<'c>(mut commands: impl Iterator<Item = &'c CommandConfig>) -> Option<String> {
    let program = &commands.find(|command| is_vector(&command.program))?.program;
    version_of(program).await
}

/// Asks a program for its version.
pub(super) async fn version_of(program: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    let child = command.stdout(Stdio::piped()).spawn().ok()?;
    let _own = OwnChild::new(child.id());
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.ok()?.ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Only by its exact name: a script around it may start a second Vector.
pub(super) fn is_vector(program: &str) -> bool {
    program.rsplit('/').next() == Some("vector")
}

/// Reads `vector 0.58.0 (x86_64-unknown-linux-gnu …)`.
fn parse(text: &str) -> Option<String> {
    let version = text.lines().next()?.split_ascii_whitespace().nth(1)?;
    version.starts_with(|letter: char| letter.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapper_script_is_never_run_for_its_version() {
        assert!(is_vector("vector") && is_vector("/usr/bin/vector"));
        assert!(!is_vector("/opt/run-vector.sh") && !is_vector("vector.sh") && !is_vector("/opt/vector/run"));
    }

    #[test]
    fn vector_version_is_the_second_word() {
        assert_eq!(parse("vector 0.58.0 (x86_64-unknown-linux-gnu abc 2026-01-01)\n").as_deref(), Some("0.58.0"));
        assert_eq!(parse("usage: vector"), None);
        assert_eq!(parse(""), None);
    }
}
