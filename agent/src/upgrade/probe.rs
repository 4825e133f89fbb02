//! Asks a program for its version before it is used. One that does not start here (another architecture, a
//! missing library, half a file) changes nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::supervise::process::orphans::OwnChild;
use crate::supervise::process::{SECRET_VARIABLES, SYSTEMD_VARIABLES};
use crate::version::BUILD;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Another thread that starts a process may hold the file that was just written, for a moment.
const TRIES: u32 = 10;

/// Between two of them.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What a program says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its version.
    pub(super) version: String,
    /// The source that it was built from, if it knows.
    #[serde(default)]
    pub(super) commit: Option<String>,
}

/// Why a program is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// It does not start, or not in time.
    #[error("the program does not answer --version: {0}")]
    NoAnswer(String),
    /// It is something else.
    #[error(
        "the program answers --version with `{0}`, expected `systole-agent VERSION`; another agent is installed and started by an operator"
    )]
    Stranger(String),
    /// It is another version.
    #[error("the program is version {found}, expected {expected}")]
    Version {
        /// What was asked for.
        expected: String,
        /// What it says.
        found: String,
    },
}

/// Asks for the version, which must be `expected`, if that is known.
///
/// # Errors
/// When it does not answer, or is not what was expected.
pub(super) async fn probe(program: &Path, expected: Option<&str>) -> Result<Answer, ProbeError> {
    let said = ask(program, &["--version"]).await?;
    let words: Vec<&str> = said.split_ascii_whitespace().collect();
    let [name, version] = words[..] else { return Err(ProbeError::Stranger(shown(&said))) };
    if name != BUILD.name {
        return Err(ProbeError::Stranger(shown(&said)));
    }
    if let Some(expected) = expected.filter(|expected| *expected != version) {
        return Err(ProbeError::Version { expected: expected.to_owned(), found: version.to_owned() });
    }
    // Nice to know, and not asked of every version.
    let details = ask(program, &["--version", "--json"]).await.ok();
    let commit = details.and_then(|json| serde_json::from_str::<Answer>(&json).ok()?.commit);
    Ok(Answer { version: version.to_owned(), commit })
}

async fn ask(program: &Path, args: &[&str]) -> Result<String, ProbeError> {
    let mut tries = 0;
    let child = loop {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        for name in SECRET_VARIABLES.into_iter().chain(SYSTEMD_VARIABLES) {
            command.env_remove(name);
        }
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < TRIES => {
                tries += 1;
                sleep(TRY_EVERY).await;
            }
            spawned => break spawned.map_err(|error| ProbeError::NoAnswer(error.to_string()))?,
        }
    };
    let _own = OwnChild::new(child.id());
    let output = timeout(TIMEOUT, child.wait_with_output()).await;
    let output = output.map_err(|_| ProbeError::NoAnswer(format!("no answer within {} s", TIMEOUT.as_secs())))?;
    let output = output.map_err(|error| ProbeError::NoAnswer(error.to_string()))?;
    if !output.status.success() {
        return Err(ProbeError::NoAnswer(output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Bytes of an answer in an error.
const SHOWN_BYTES: usize = 80;

fn shown(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(SHOWN_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn ask_script(text: &str, expected: Option<&str>) -> Result<Answer, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        probe(&path, expected).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_an_agent_of_the_wanted_version_is_used() {
        let agent = "#!/bin/sh\n[ $# = 1 ] && echo systole-agent 9.9.9\n";
        assert_eq!(ask_script(agent, Some("9.9.9")).await.unwrap(), Answer { version: "9.9.9".into(), commit: None });
        let with_json =
            "#!/bin/sh\n[ $# = 1 ] && echo systole-agent 9.9.9 || echo '{\"version\":\"9.9.9\",\"commit\":\"abc\"}'\n";
        assert_eq!(ask_script(with_json, None).await.unwrap().commit.as_deref(), Some("abc"));
        assert!(ask_script(agent, Some("9.9.8")).await.unwrap_err().contains("is version 9.9.9, expected 9.9.8"));
        assert!(ask_script("#!/bin/sh\necho vector 1\n", None).await.unwrap_err().contains("vector 1"));
        assert!(ask_script("#!/bin/sh\nexit 3\n", None).await.unwrap_err().contains("exit status: 3"));
        assert!(ask_script("\u{7f}ELF nothing", None).await.unwrap_err().contains("does not answer"));
    }
}
