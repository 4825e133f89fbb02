//! Requests the status of the running agent over its socket, and prints it.

mod table;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Status, http};
use crate::model::node::node_token;

/// How long the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer: a thousand pipelines with long reasons are a fraction of it.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// An error of the status command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// No socket, or no server after it.
    #[error("no agent runs on {dir}: {why}. Select another data directory with --data-dir, SYSTOLE_DATA_DIR or --config", dir = .0.display(), why = .1)]
    NotRunning(PathBuf, &'static str),
    /// The socket of another user.
    #[error("only the agent's user and root can use {}; try sudo", .0.display())]
    Denied(PathBuf),
    /// It does not answer as it should.
    #[error("the agent on {dir} does not answer: {why}", dir = .0.display(), why = .1)]
    Silent(PathBuf, #[source] io::Error),
    /// It answers, but not with a status.
    #[error("cannot read the agent's answer; is it another version? ({0})")]
    Unreadable(#[source] serde_json::Error),
}

/// The status of the agent on `data_dir`.
///
/// # Errors
///
/// When no agent runs there, or it does not answer.
pub(crate) fn fetch_status(data_dir: &Path) -> Result<Status, StatusError> {
    serde_json::from_slice(&fetch(data_dir)?).map_err(StatusError::Unreadable)
}

/// Prints the status of the agent on `data_dir`.
pub(crate) fn print(data_dir: &Path, as_json: bool) -> Result<io::Result<()>, StatusError> {
    let answer = fetch(data_dir)?;
    // Read even when it is only handed on: half an answer is no success.
    let status: Status = serde_json::from_slice(&answer).map_err(StatusError::Unreadable)?;
    let mut out = io::stdout();
    if as_json {
        return Ok(out.write_all(&answer).and_then(|()| out.write_all(b"\n")));
    }
    Ok(write!(out, "{}", table::show(&status)))
}

fn fetch(data_dir: &Path) -> Result<Vec<u8>, StatusError> {
    let path = data_dir.join(http::SOCKET);
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StatusError::NotRunning(data_dir.to_owned(), why_not_found(data_dir)),
        ErrorKind::NotADirectory => StatusError::NotRunning(data_dir.to_owned(), "it is not a directory"),
        ErrorKind::ConnectionRefused => {
            StatusError::NotRunning(data_dir.to_owned(), "its agent.sock is left from an agent that was killed")
        }
        ErrorKind::PermissionDenied => StatusError::Denied(path.clone()),
        _ => StatusError::Silent(data_dir.to_owned(), error),
    })?;
    let answer = ask(&mut stream).map_err(|error| StatusError::Silent(data_dir.to_owned(), error))?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = head_end.filter(|_| answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"));
    match body {
        Some(end) => Ok(answer[end + 4..].to_vec()),
        None => Err(StatusError::Silent(data_dir.to_owned(), ErrorKind::InvalidData.into())),
    }
}

/// HTTP/1.0, whose answer ends with the connection: too little to bring in a client for.
/// An agent that ran once has left its token or its spool.
fn why_not_found(data_dir: &Path) -> &'static str {
    if !data_dir.exists() {
        "there is no such directory"
    } else if data_dir.join("spool").exists() || node_token::exists(data_dir) {
        "one ran here before, but there is no agent.sock now"
    } else {
        "no agent has ever run here (no agent.sock, no node token)"
    }
}

fn ask(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn stale_or_missing_socket_means_no_agent() {
        let dir = tempfile::tempdir().unwrap();
        let why = |path: &Path| match print(path, true) {
            Err(StatusError::NotRunning(_, why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(dir.path()).contains("ever run here"));
        assert!(why(&dir.path().join("none")).contains("no such directory"));
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        assert!(why(dir.path()).contains("ran here before"));
        drop(UnixListener::bind(dir.path().join(http::SOCKET)).unwrap());
        let left = print(dir.path(), true).unwrap_err();
        assert!(matches!(left, StatusError::NotRunning(_, why) if why.contains("left from an agent")), "{left}");
    }

    #[test]
    fn partial_response_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(http::SOCKET)).unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["HTTP/1.0 200 OK\r\n\r\n{\"now\":1", "HTTP/1.0 503 X\r\n\r\n{}"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 64]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(matches!(print(dir.path(), true), Err(StatusError::Unreadable(_))));
        assert!(matches!(print(dir.path(), true), Err(StatusError::Silent(..))));
        server.join().unwrap();
    }
}
