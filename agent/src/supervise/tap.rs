//! Reads the events that pass a component, through the engine's own `vector tap`.
//!
//! A child instead of the API itself: the API is GraphQL over WebSockets up to Vector 0.54 and gRPC from 0.55 on,
//! and the command of the very Vector that runs speaks the right one. It costs some 30 MB while an operator
//! watches, and nothing else.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::Pipeline;
use super::process::orphans::OwnChild;
use super::vector_version::{is_vector, version_of};
use super::{process, text};
use crate::model::pipeline::CommandConfig;

/// Milliseconds between two samples that Vector takes for a tap, and the most events of each.
const INTERVAL_MS: u64 = 250;
const EVENTS_PER_INTERVAL: usize = 50;

/// Letters that Vector's patterns give a meaning: a component is named by its own id.
const PATTERN_LETTERS: [char; 7] = ['*', '?', '[', ']', '{', '}', ','];

/// Longest id of a component or of one of its outputs.
const MAX_COMPONENT_BYTES: usize = 512;

/// The longest event that is read. A longer one ends here, and its rest is skipped.
const MAX_LINE_BYTES: u64 = 256 * 1024;

/// Bytes of the error of a tap that failed.
const ERROR_BYTES: usize = 300;

/// Exit code of Vector when its API does not answer.
const API_UNREACHABLE: i32 = 69;

/// How long the end of a tap's standard error is waited for.
const LAST_ERRORS: Duration = Duration::from_millis(500);

/// Before Vector 0.55 the API is GraphQL, and has this path.
const GRAPHQL_PATH: &str = "/graphql";
const FIRST_WITH_GRPC: (u32, u32) = (0, 55);

/// A running tap of one component. Its process ends with it.
#[derive(Debug)]
pub(crate) struct Tap {
    child: Child,
    component: String,
    pid: Option<u32>,
    _own: Option<OwnChild>,
    lines: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
    /// What was read of the next line of each.
    line: Vec<u8>,
    error: Vec<u8>,
    has_errors: bool,
    /// What it said last on standard error.
    said: String,
}

/// What a tap reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TapItem {
    /// An event as JSON text.
    Event(String),
    /// The tap is over: as asked, or for a reason.
    End(Result<(), String>),
}

impl Tap {
    /// Starts to read the events that the component sends.
    ///
    /// # Errors
    ///
    /// Why the pipeline has no such tap, as an operator can act on it.
    pub(crate) async fn begin(pipeline: &Pipeline, component: &str, time: Duration) -> Result<Tap, String> {
        let is_id = !component.is_empty()
            && component.len() <= MAX_COMPONENT_BYTES
            && !component.contains(|letter: char| letter.is_control() || PATTERN_LETTERS.contains(&letter));
        if !is_id {
            return Err(format!("`{}` is no id of a component", text::one_line(component, ERROR_BYTES)));
        }
        let config = pipeline.config();
        let Some(url) = &config.api_url else {
            return Err(
                "its engine has no API on this node: set api_url, and enable the API in its configuration".to_owned()
            );
        };
        let own = config.command.as_ref();
        let program = own.map_or("vector", |command| command.program.as_str());
        if !is_vector(program) {
            return Err(format!("samples and taps need Vector, and this pipeline runs {program}"));
        }
        let url = complete(url, program).await;
        let command = CommandConfig {
            program: program.to_owned(),
            args: [
                "tap".to_owned(),
                format!("--url={url}"),
                format!("--outputs-of={component}"),
                format!("--interval={INTERVAL_MS}"),
                format!("--limit={EVENTS_PER_INTERVAL}"),
                format!("--duration-ms={}", time.as_millis()),
                "--format=json".to_owned(),
                "--no-reconnect".to_owned(),
            ]
            .into(),
            // Nothing of the pipeline's environment, which has its secrets.
            env: Default::default(),
            working_dir: None,
            config_file: None,
            limits: own.map(|own| own.limits).unwrap_or_default(),
            run_as: own.and_then(|own| own.run_as.clone()),
            validate: None,
        };
        Tap::start(&command, component)
    }

    fn start(command: &CommandConfig, component: &str) -> Result<Tap, String> {
        let mut command = process::command(command, None).map_err(|error| error.to_string())?;
        command.kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("cannot start the tap: {error}"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("the tap has no output".to_owned());
        };
        let pid = child.id();
        Ok(Tap {
            child,
            component: component.to_owned(),
            pid,
            _own: OwnChild::new(pid),
            lines: BufReader::new(stdout),
            errors: BufReader::new(stderr),
            line: Vec::new(),
            error: Vec::new(),
            has_errors: true,
            said: String::new(),
        })
    }

    /// The next event, or the end. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> TapItem {
        loop {
            tokio::select! {
                read = read_line(&mut self.lines, &mut self.line) => match read {
                    Some(event) => return TapItem::Event(event),
                    None => break,
                },
                read = read_line(&mut self.errors, &mut self.error), if self.has_errors => match read {
                    Some(text) if text.contains("failed to match") => {
                        return TapItem::End(Err(format!("the pipeline has no component `{}` with outputs", self.component)));
                    }
                    Some(text) if text.contains("cannot be tapped") => {
                        return TapItem::End(Err(format!("the component `{}` has no outputs: it is a sink", self.component)));
                    }
                    Some(text) if text.starts_with("[tap]") || text.contains("Log level is enabled") => {}
                    Some(text) => self.said = text,
                    None => self.has_errors = false,
                },
            }
        }
        let rest = async {
            while let Some(text) = read_line(&mut self.errors, &mut self.error).await {
                if !text.starts_with("[tap]") {
                    self.said = text;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_ERRORS, rest).await;
        TapItem::End(match self.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) if status.code() == Some(API_UNREACHABLE) => Err(format!(
                "the API of the pipeline does not answer; enable it in its configuration (api.enabled): {}",
                text::one_line(text::without_time(&self.said), ERROR_BYTES)
            )),
            Ok(status) => {
                let said = text::one_line(text::without_time(&self.said), ERROR_BYTES);
                Err(format!("the tap ended with {}: {said}", process::describe(status)))
            }
            Err(error) => Err(format!("cannot wait for the tap: {error}")),
        })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            process::signal_group(pid, Signal::SIGKILL);
        }
    }
}

/// The next line without its end; none at the end. May be dropped and called again with the same `line`.
async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> Option<String> {
    loop {
        let room = MAX_LINE_BYTES.saturating_sub(line.len() as u64);
        if room == 0 {
            let is_whole = skip_line(stream).await;
            line.push(b'\n');
            if !is_whole {
                break;
            }
        } else if (&mut *stream).take(room).read_until(b'\n', line).await.ok()? == 0 {
            break;
        }
        if line.ends_with(b"\n") {
            break;
        }
    }
    let read = std::mem::take(line);
    if read.is_empty() {
        return None;
    }
    Some(String::from_utf8_lossy(&read).trim_end_matches(['\n', '\r']).to_owned())
}

/// Skips to the end of a line, or to the end; false at the end.
async fn skip_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> bool {
    loop {
        let Ok(buffer) = stream.fill_buf().await else { return false };
        if buffer.is_empty() {
            return false;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        stream.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

/// The address with the path that the version of Vector needs, unless the operator has set one.
async fn complete(url: &str, program: &str) -> String {
    let has_path = reqwest::Url::parse(url).is_ok_and(|url| url.path() != "/");
    if has_path {
        return url.to_owned();
    }
    let base = url.trim_end_matches('/');
    match version_of(program).await {
        Some(version) if is_before_grpc(&version) => format!("{base}{GRAPHQL_PATH}"),
        _ => base.to_owned(),
    }
}

fn is_before_grpc(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < FIRST_WITH_GRPC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_decides_the_path_of_the_api() {
        for (version, is_before) in
            [("0.41.1", true), ("0.54.0", true), ("0.55.0", false), ("0.58.0", false), ("1.0.0", false)]
        {
            assert_eq!(is_before_grpc(version), is_before, "{version}");
        }
    }

    #[tokio::test]
    async fn long_line_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(300_000);
        let text = format!("a\r\n{long}\nb");
        let mut stream = BufReader::new(text.as_bytes());
        let mut line = Vec::new();
        assert_eq!(read_line(&mut stream, &mut line).await.as_deref(), Some("a"));
        let cut = read_line(&mut stream, &mut line).await.unwrap();
        assert_eq!(cut.len() as u64, MAX_LINE_BYTES);
        assert_eq!(read_line(&mut stream, &mut line).await.as_deref(), Some("b"));
        assert_eq!(read_line(&mut stream, &mut line).await, None);
    }
}
