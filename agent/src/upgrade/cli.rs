//! `systole-agent upgrade`: fetches and installs the program with the rights of the caller, and asks the running
//! agent to become it.
//!
//! The caller is often root, while the agent is a user that may not write to the directory of its program. So
//! the command does everything that needs files there, also after the agent went back to the version before.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use systole_shared::UnixMillis;
use tokio::time::{Instant, sleep};

use super::control::{UpgradeError, UpgradeView, Wish, install_error, prepare};
use super::marker::{Marker, Phase};
use super::program::Program;
use super::source::Source;
use crate::clock;
use crate::model::tls::TlsFiles;
use crate::model::upgrade::{UpdateKey, UpdateRules, UpgradeConfig};

/// The agent's socket in its data directory.
pub(crate) const SOCKET: &str = "agent.sock";

/// The page of upgrades on that socket.
pub(crate) const PAGE: &str = "/upgrade";

/// How long the agent may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer is some hundreds of bytes.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;

/// Between two looks at the agent.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the agent may take besides the trial: a pipeline that stops, a way back, a start.
const SPARE: Duration = Duration::from_secs(120);

/// Bytes between two lines of progress where no terminal shows them.
const LINE_EVERY_BYTES: u64 = 8 * 1024 * 1024;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// A file or an https address.
    pub(crate) source: String,
    /// What the program must have.
    pub(crate) sha256: Option<String>,
    /// Ed25519, base64.
    pub(crate) signature: Option<String>,
    /// What the program must answer.
    pub(crate) version: Option<String>,
}

/// Why the agent was not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No agent to upgrade.
    #[error("no agent runs with data_dir {0}: start it, or name its directory with --data-dir")]
    NotRunning(String),
    /// Another user's.
    #[error("the socket of the agent in {0} belongs to another user: run the command as root or as that user")]
    Denied(String),
    /// It answers, but not to this.
    #[error("the agent cannot be asked: {0}")]
    Unreadable(String),
    /// Nothing says which program is meant.
    #[error("a program from a URL needs --sha256, or update_key in agent.toml and --signature")]
    NoChecksum,
    /// The agent's key.
    #[error("the agent has an update_key that this version cannot read")]
    Key,
    /// It changed nothing.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The agent says so.
    #[error("the agent was not upgraded: {0}")]
    Failed(String),
    /// The version before runs.
    #[error("version {to} was not healthy: {reason}; the agent runs version {from} again")]
    RolledBack {
        /// The new version.
        to: String,
        /// The version before.
        from: String,
        /// Why.
        reason: String,
    },
    /// Neither is known.
    #[error("the agent has not said within {0} s whether the new version is healthy; see `systole-agent status`")]
    Unknown(u64),
}

/// Upgrades the agent on `data_dir`, and says on `out` how far that is.
///
/// # Errors
/// When the agent runs the version before.
pub(crate) async fn run(data_dir: &Path, request: &Request, out: &mut impl Write) -> Result<(), CommandError> {
    let view = look(data_dir)?;
    if let Some(refusal) = view.refusal {
        return Err(UpgradeError::Refused(refusal).into());
    }
    let program = view.program.ok_or_else(|| CommandError::Unreadable("it does not know its program".to_owned()))?;
    let program = Program::at(&program);
    let source = Source::parse(&request.source).map_err(UpgradeError::from)?;
    let key = match &view.update_key {
        Some(text) => Some(UpdateKey::parse(text).ok_or(CommandError::Key)?),
        None => None,
    };
    let is_verified = request.sha256.is_some() || key.is_some();
    if matches!(source, Source::Url(_)) && !is_verified {
        return Err(CommandError::NoChecksum);
    }
    say(out, &format!("running: {}", name(&view.version, view.commit.as_deref())));
    let config = UpgradeConfig { key, ..UpgradeConfig::default() };
    let tls = TlsFiles { ca: view.ca_file, client: None };
    let wish = Wish {
        signed: UpdateRules::OF_OPERATOR.signed,
        version: request.version.as_deref(),
        sha256: request.sha256.as_deref(),
        signature: request.signature.as_deref(),
    };
    let mut shown = Shown::default();
    let mut progress = |bytes, whole| shown.show(bytes, whole);
    let prepared = prepare(&program, &source, &wish, &config, &tls, &mut progress).await?;
    say(out, &format!("new:     {}", name(&prepared.answer.version, prepared.answer.commit.as_deref())));
    program.install().map_err(|error| install_error(&program, error))?;
    let asked_at = clock::unix_millis();
    let asked = ask_to_switch(data_dir, &prepared.sha256, &prepared.answer.version);
    let result = match asked {
        Ok(()) => wait(data_dir, asked_at, Duration::from_secs(view.timeout_seconds) + SPARE).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(after) => {
            say(out, &format!("upgraded: {}, process {}", name(&after.version, after.commit.as_deref()), after.pid));
            Ok(())
        }
        Err(error) => {
            // The agent may not be allowed to do that; if it has done it, there is nothing to restore.
            if !matches!(error, CommandError::Unknown(_)) && program.previous().exists() {
                drop(program.restore());
            }
            Err(error)
        }
    }
}

/// Waits until the new version is healthy, or the old one runs again.
async fn wait(data_dir: &Path, asked_at: UnixMillis, limit: Duration) -> Result<UpgradeView, CommandError> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        sleep(LOOK_EVERY).await;
        // While the process becomes the other program, nothing answers.
        let Ok(view) = look(data_dir) else { continue };
        if let Some(failure) = view.failure {
            return Err(CommandError::Failed(failure));
        }
        let Some(Marker { phase, reason, to, from, .. }) = view.last.clone().filter(|last| last.began_at >= asked_at)
        else {
            continue;
        };
        match phase {
            Phase::Trial => {}
            Phase::Healthy if !view.is_busy => return Ok(view),
            Phase::Healthy => {}
            Phase::RolledBack => {
                return Err(CommandError::RolledBack { to, from, reason: reason.unwrap_or_default() });
            }
        }
    }
    Err(CommandError::Unknown(limit.as_secs()))
}

fn look(data_dir: &Path) -> Result<UpgradeView, CommandError> {
    let (status, body) = ask(data_dir, &format!("GET {PAGE} HTTP/1.0\r\n\r\n"))?;
    if status != 200 {
        return Err(CommandError::Unreadable(format!("it answered {status}; is it an older version?")));
    }
    serde_json::from_slice(&body).map_err(|error| CommandError::Unreadable(error.to_string()))
}

fn ask_to_switch(data_dir: &Path, sha256: &str, version: &str) -> Result<(), CommandError> {
    let request = format!("POST {PAGE}?sha256={sha256}&version={version} HTTP/1.0\r\n\r\n");
    match ask(data_dir, &request)? {
        (202, _) => Ok(()),
        (_, body) => Err(CommandError::Failed(String::from_utf8_lossy(&body).trim().to_owned())),
    }
}

/// HTTP/1.0, whose answer ends with the connection.
fn ask(data_dir: &Path, request: &str) -> Result<(u16, Vec<u8>), CommandError> {
    let shown = data_dir.display().to_string();
    let mut stream = UnixStream::connect(data_dir.join(SOCKET)).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => CommandError::Denied(shown),
        _ => CommandError::NotRunning(shown),
    })?;
    let mut exchange = || -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        (&stream).take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| CommandError::Unreadable(error.to_string()))?;
    let broken = || CommandError::Unreadable("the answer is no HTTP".to_owned());
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok((status, answer[end + 4..].to_vec()))
}

fn name(version: &str, commit: Option<&str>) -> String {
    format!("systole-agent {version} (build {})", commit.unwrap_or("unknown"))
}

fn say(out: &mut impl Write, line: &str) {
    // A reader that closes the pipe must not stop an upgrade half way.
    drop(writeln!(out, "{line}"));
}

/// How far the download is, on standard error: a line that is written over on a terminal, a few lines elsewhere.
#[derive(Default)]
struct Shown {
    bytes: u64,
    percent: Option<u64>,
}

impl Shown {
    #[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
    fn show(&mut self, bytes: u64, whole: Option<u64>) {
        let percent = whole.filter(|whole| *whole > 0).map(|whole| bytes * 100 / whole);
        let text = match percent {
            Some(percent) => format!("fetched {} of {} KiB ({percent} %)", bytes / 1024, whole.unwrap_or(0) / 1024),
            None => format!("fetched {} KiB", bytes / 1024),
        };
        let is_done = whole == Some(bytes);
        if io::stderr().is_terminal() {
            if percent.is_none() || percent != self.percent {
                eprint!("\r{text}{}", if is_done { "\n" } else { "" });
            }
        } else if is_done || bytes >= self.bytes + LINE_EVERY_BYTES {
            eprintln!("{text}");
            self.bytes = bytes;
        }
        self.percent = percent;
    }
}
