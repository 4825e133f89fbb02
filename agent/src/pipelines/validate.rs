//! Asks whether a new configuration is any good, before the process that runs is touched.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::process;
use super::revision::{ConfigCopy, Revision};

/// How long the answer may take.
const CEILING: Duration = Duration::from_secs(30);

/// Of what the judge said, this many bytes go into the reason.
const SAID_BYTES: usize = 300;

/// Of each stream the last so many bytes are looked at, twice as many held.
const HELD_BYTES: usize = 4 * 1024;

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
    let Ok(verdict) = tokio::time::timeout(CEILING, verdict_of(&mut child)).await else {
        return Err(format!("{name} did not judge it within {} s", CEILING.as_secs()));
    };
    let (status, stdout, stderr) = verdict.map_err(|error| format!("{name} gave no answer: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let said = if stderr.iter().all(u8::is_ascii_whitespace) { stdout } else { stderr };
    let ended = process::describe(status);
    Err(format!("{name} refuses it ({ended}): {}", words(&String::from_utf8_lossy(&said))))
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

/// What was said, on one line, its end when it is long: that is where errors stand.
fn words(said: &str) -> String {
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain: String = words.chars().filter(|letter| !letter.is_control()).collect();
    let cut = plain.ceil_char_boundary(plain.len().saturating_sub(SAID_BYTES));
    if cut == 0 { plain } else { format!("…{}", &plain[cut..]) }
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
    fn of_long_words_the_end_is_kept_on_one_line() {
        assert_eq!(words("a\n  b\t\x1b[31mc\n"), "a b [31mc");
        let long = words(&format!("{} the error", "ü".repeat(1_000)));
        assert!(long.starts_with('…') && long.ends_with("the error") && long.len() <= SAID_BYTES + 3);
    }
}
