//! Asks whether a new configuration is any good, before the process that runs is touched.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::process::orphans::OwnChild;
use super::revision::{ConfigCopy, Revision};
use super::{process, text};

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Of what the judge said, this many bytes go into the reason: what follows it must have room as well.
const SAID_BYTES: usize = 600;

/// Of each stream the last so many bytes are looked at, twice as many held.
const HELD_BYTES: usize = 4 * 1024;

/// What stands before each error of `vector validate`.
const VECTOR_ERROR_MARKS: [&str; 2] = ["x ", "\u{d7} "];

/// The judge's process group: at the end, or when nobody wants to know any more, nothing of it stays.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            process::signal_group(pid, Signal::SIGKILL);
        }
    }
}

/// Asks; `Err` is the reason why not.
pub(super) async fn validate(revision: &Revision, copy: &ConfigCopy) -> Result<(), String> {
    let Some(judge) = revision.validation(copy) else { return Ok(()) };
    let name = judge.program.clone();
    let mut command = process::command(&judge, None).map_err(|error| error.to_string())?;
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
    let _group = Group(child.id());
    let _own = OwnChild::new(child.id());
    let Ok(verdict) = tokio::time::timeout(TIMEOUT, verdict_of(&mut child)).await else {
        return Err(format!("{name} did not judge it within {} s", TIMEOUT.as_secs()));
    };
    let (status, stdout, stderr) = verdict.map_err(|error| format!("{name} gave no answer: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let said = if stderr.iter().all(u8::is_ascii_whitespace) { stdout } else { stderr };
    let mut said = String::from_utf8_lossy(&said).into_owned();
    // The operator knows nothing of the agent's copy.
    if let (Some(copy), Some(source)) = (copy.path(), revision.source()) {
        said = said.replace(&*copy.to_string_lossy(), &source.to_string_lossy());
    }
    let program = name.rsplit('/').next().unwrap_or(&name);
    Err(format!("{program} refuses it ({}): {}", process::describe(status), message(&said)))
}

/// How the judge ended, and what it said last on standard output and error.
async fn verdict_of(child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) = tokio::join!(child.wait(), end_of(stdout), end_of(stderr));
    Ok((status?, stdout?, stderr?))
}

/// Reads all there is and holds the end of it.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut end = Vec::with_capacity(2 * HELD_BYTES);
    let Some(mut stream) = stream else { return Ok(end) };
    loop {
        if end.len() >= 2 * HELD_BYTES {
            end.drain(..HELD_BYTES);
        }
        let room = 2 * HELD_BYTES - end.len();
        if (&mut stream).take(room as u64).read_buf(&mut end).await? == 0 {
            return Ok(end);
        }
    }
}

/// The judge's message on one line. Vector prints what it loads, a ruled line, and then its errors, each
/// after `x`: these alone are the message. Of other judges, the last whole lines that have room.
fn message(said: &str) -> String {
    let plain = text::without_escapes(said);
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty() && !is_ruled(line)).collect();
    let errors: Vec<&str> = lines.iter().copied().filter_map(vector_error).collect();
    if !errors.is_empty() {
        return text::one_line(&errors.join("; "), SAID_BYTES);
    }
    let mut room = SAID_BYTES;
    let fits = |line: &&&str| {
        let is_fit = line.len() < room;
        room = room.saturating_sub(line.len() + 1);
        is_fit
    };
    let count = lines.iter().rev().take_while(fits).count().max(1);
    let last = &lines[lines.len().saturating_sub(count)..];
    text::one_line(&last.join(" "), SAID_BYTES)
}

/// The text of an error of `vector validate`.
fn vector_error(line: &str) -> Option<&str> {
    VECTOR_ERROR_MARKS.iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

/// Whether it is a line across the page.
fn is_ruled(line: &str) -> bool {
    line.chars().all(|letter| matches!(letter, '-' | '=' | '_' | '*' | '\u{2500}'..='\u{257f}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_judge_that_floods_only_the_end_is_held() {
        let text = format!("{}the error", "x".repeat(1_000_000));
        let end = end_of(Some(text.as_bytes())).await.unwrap();
        assert!(end.len() <= 2 * HELD_BYTES && end.ends_with(b"xthe error"), "{}", end.len());
        assert_eq!(end_of(Some(&b"short"[..])).await.unwrap(), b"short");
    }

    #[tokio::test]
    async fn nothing_of_a_judge_outlives_its_verdict() {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "sleep 300 & exit 0"]).process_group(0);
        let mut child = command.spawn().unwrap();
        let pid = child.id().unwrap();
        let group = Group(child.id());
        child.wait().await.unwrap();
        assert!(process::group_lives(pid));
        drop(group);
        let gone = async {
            while process::group_lives(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[test]
    fn message_of_vector_is_its_errors_alone() {
        let said = "\x1b[1mFailed to load [\"/etc/vector/v0.yaml\"]\x1b[0m\n-----------------------\n\
                    x sinks.out: unknown variant `nope`, expected one of `a`, `b`\n\nx sources.in: missing field `mode`\n\n";
        assert_eq!(
            message(said),
            "sinks.out: unknown variant `nope`, expected one of `a`, `b`; sources.in: missing field `mode`"
        );
        let long = message(&format!("x sinks.out: unknown variant `nope`, expected one of {}", "`a`, ".repeat(500)));
        assert!(long.starts_with("sinks.out: unknown variant `nope`") && long.ends_with('…'), "{long}");
    }

    #[test]
    fn message_of_other_judges_is_their_last_whole_lines() {
        assert_eq!(message("a\n  b\t\x1b[31mc\n"), "a b c");
        let long = message(&format!("{}\n-----\nline 3: the error\n", "u".repeat(1_000)));
        assert_eq!(long, "line 3: the error");
        let one = message(&"\u{fc}".repeat(1_000));
        assert!(one.ends_with('…') && one.len() <= SAID_BYTES + 3, "{one}");
        assert_eq!(message("\n\n"), "");
    }
}
