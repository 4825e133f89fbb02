//! Reads the lines of systemd units from the journal, through `journalctl`.
//!
//! A supervised child and not the journal's files: their format is systemd's own, and the library for it would
//! be one more to install. The cursor of the last reported line is kept with the checkpoint, so lines are exact
//! over the end of agent and journalctl. While the budget of lines is spent, nothing is read, and the journal
//! keeps what comes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::LogStream;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::logs::Line;
use crate::logs::journal::JournalEntry;
use crate::logs::multiline::{Entry, Joiner, MAX_WAIT};
use crate::logs::read_offsets::JournalPlace;
use crate::model::pipeline::CommandConfig;
use crate::supervise::process::orphans::OwnChild;
use crate::supervise::set::PipelineSet;
use crate::supervise::{Pipeline, process};

/// Between two looks at which pipelines there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first wait after journalctl ended, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A run of this length was a good one.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// While the budget is spent: what comes in that time is worth a read.
const BUDGET_WAIT: Duration = Duration::from_millis(50);

/// Bytes of one entry: a line may be large, and is cut; its other fields are not asked for.
const MAX_ENTRY_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of what journalctl complains about.
const MAX_COMPLAINT_BYTES: u64 = 1024;

/// How long that may take to come after its end.
const COMPLAINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Follows the journals of all pipelines that ask for it, until it is dropped.
pub(super) async fn follow(set: &PipelineSet) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut followers = JoinSet::new();
    let mut known: BTreeMap<String, (Arc<Pipeline>, String, CancellationToken)> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let all = set.all();
        let wanted = all.iter().filter_map(|pipeline| {
            let unit = pipeline.config().log_files.journal_unit.clone()?;
            Some((pipeline.id().to_string(), (pipeline.clone(), unit)))
        });
        let wanted: BTreeMap<_, _> = wanted.collect();
        known.retain(|id, (pipeline, unit, stop)| {
            let stays = wanted.get(id).is_some_and(|(other, name)| Arc::ptr_eq(other, pipeline) && name == unit);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for (id, (pipeline, unit)) in wanted {
            known.entry(id).or_insert_with(|| {
                let stop = CancellationToken::new();
                let follower = Follower { pipeline: pipeline.clone(), unit: unit.clone(), joiner: Joiner::default() };
                followers.spawn(follower.run(stop.clone()));
                (pipeline, unit, stop)
            });
        }
        while followers.try_join_next().is_some() {}
    }
}

/// Follows the journal of one unit.
struct Follower {
    pipeline: Arc<Pipeline>,
    unit: String,
    joiner: Joiner,
}

impl Follower {
    async fn run(mut self, stop: CancellationToken) {
        let (mut wait, mut logged) = (RETRY.0, None);
        let mut place = self.pipeline.with_logs(|logs| logs.offsets.open_journal(&self.unit, clock::unix_millis()));
        loop {
            let begin = Instant::now();
            let reason = tokio::select! {
                reason = self.read(&mut place) => reason,
                () = stop.cancelled() => break,
            };
            if begin.elapsed() >= GOOD_RUN {
                wait = RETRY.0;
                logged = None;
            }
            if logged.as_ref() != Some(&reason) {
                tracing::warn!(pipeline = %self.pipeline.id(), unit = self.unit, reason, "cannot read the journal; retrying");
                self.pipeline
                    .add_line(format!("warn: systole-agent: cannot read the journal of {}: {reason}", self.unit));
                logged = Some(reason);
            }
            tokio::select! {
                () = sleep(wait) => wait = (wait * 2).min(RETRY.1),
                () = stop.cancelled() => break,
            }
        }
        let rest = self.joiner.flush();
        self.push(&place, rest);
    }

    /// One run of journalctl; returns why it ended.
    async fn read(&mut self, place: &mut JournalPlace) -> String {
        let started = self.start(place);
        let mut child = match started {
            Ok(child) => child,
            Err(reason) => return reason,
        };
        let _own = OwnChild::new(child.id());
        let complaint = child.stderr.take().map(|stderr| tokio::spawn(complaint_of(stderr)));
        let ended = match child.stdout.take() {
            Some(stdout) => self.read_entries(BufReader::new(stdout), place).await,
            None => Ok(()),
        };
        let said = match complaint {
            Some(complaint) => timeout(COMPLAINT_TIMEOUT, complaint).await.ok().and_then(Result::ok),
            None => None,
        };
        let _ = child.start_kill();
        let status = child.wait().await.map_or_else(|error| error.to_string(), process::describe);
        match (ended, said.filter(|said| !said.is_empty())) {
            (_, Some(said)) => format!("journalctl: {said}"),
            (Err(error), None) => format!("journalctl: {error}"),
            (Ok(()), None) => format!("journalctl ended ({status})"),
        }
    }

    fn start(&self, place: &JournalPlace) -> Result<Child, String> {
        let from = match &place.cursor {
            Some(cursor) => format!("--after-cursor={cursor}"),
            None => format!("--since=@{}.{:03}", place.since.div_euclid(1_000), place.since.rem_euclid(1_000)),
        };
        // Without --all long messages are left out; without --no-tail the last ten lines come first. Not --quiet: it
        // hides why there are no lines.
        let args = ["--unit", &self.unit, "--output=json", "--output-fields=MESSAGE,PRIORITY"];
        let args = args.into_iter().chain(["--all", "--no-pager", "--no-tail", "--follow", &from]);
        let config = CommandConfig {
            program: "journalctl".to_owned(),
            args: args.map(str::to_owned).collect(),
            env: BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]),
            working_dir: None,
            config_file: None,
            limits: Default::default(),
            run_as: None,
            validate: None,
        };
        let mut command = process::command(&config, None).map_err(|error| error.to_string())?;
        command.kill_on_drop(true);
        command.spawn().map_err(|error| format!("cannot start journalctl: {error}"))
    }

    async fn read_entries(
        &mut self,
        mut from: impl AsyncBufReadExt + Unpin,
        place: &mut JournalPlace,
    ) -> io::Result<()> {
        let mut json = Vec::new();
        loop {
            while self.pipeline.with_logs(|logs| logs.room(Instant::now())) == 0 {
                sleep(BUDGET_WAIT).await;
            }
            // What was read of an entry stays when the wait for its rest is over.
            let read = read_line(&mut from, &mut json);
            let is_whole = tokio::select! {
                read = read => read?,
                () = sleep(MAX_WAIT), if self.joiner.is_waiting() => {
                    let held = self.joiner.flush();
                    self.push(place, held);
                    continue;
                }
            };
            match is_whole {
                LineEnd::End => return Ok(()),
                LineEnd::TooLong => self.pipeline.with_logs(|logs| logs.add_dropped(1)),
                LineEnd::Whole => self.take(&json, place),
            }
            json.clear();
        }
    }

    fn take(&mut self, json: &[u8], place: &mut JournalPlace) {
        let Some(JournalEntry { cursor, at, text }) = JournalEntry::parse(json) else { return };
        let (now, rule) = (clock::unix_millis(), self.pipeline.config().multiline.clone());
        let end = self.pipeline.with_logs(|logs| logs.offsets.note_cursor(place, cursor));
        let entry = Entry { text, at: at.unwrap_or(now).min(now), end, check: Default::default() };
        let entries: Vec<_> = self.joiner.push(rule.as_ref(), entry, Instant::now()).collect();
        self.push(place, entries);
    }

    fn push(&self, place: &JournalPlace, entries: impl IntoIterator<Item = Entry>) {
        let now = Instant::now();
        self.pipeline.with_logs(|logs| {
            for Entry { text, at, end, .. } in entries {
                let line = Line { at, stream: LogStream::Stdout, text: text.text, level: text.level };
                logs.push_at(line, place.offset(end), 0, now);
            }
        });
    }
}

/// How a line of journalctl ended.
enum LineEnd {
    Whole,
    TooLong,
    End,
}

/// Reads up to the end of a line. What was read before stays in `line` if this is dropped.
async fn read_line(from: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> io::Result<LineEnd> {
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(LineEnd::End);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(chunk.len(), |end| end + 1);
        if (line.len() as u64) <= MAX_ENTRY_BYTES {
            line.extend_from_slice(&chunk[..length]);
        }
        from.consume(length);
        if end.is_some() {
            return Ok(if line.len() as u64 > MAX_ENTRY_BYTES { LineEnd::TooLong } else { LineEnd::Whole });
        }
    }
}

/// The first line of what journalctl complains about; the rest is read and forgotten.
async fn complaint_of(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let _ = (&mut stderr).take(MAX_COMPLAINT_BYTES).read_to_end(&mut said).await;
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_whole_too_long_or_not_at_all() {
        let long = "x".repeat(3 * 1024 * 1024);
        let text = format!("one\n{long}\ntwo\nrest");
        let mut from = BufReader::new(text.as_bytes());
        let mut line = Vec::new();
        assert!(matches!(read_line(&mut from, &mut line).await, Ok(LineEnd::Whole)));
        assert_eq!(line, b"one\n");
        line.clear();
        assert!(matches!(read_line(&mut from, &mut line).await, Ok(LineEnd::TooLong)));
        assert!(line.len() < long.len());
        line.clear();
        assert!(matches!(read_line(&mut from, &mut line).await, Ok(LineEnd::Whole)));
        assert_eq!(line, b"two\n");
        assert!(matches!(read_line(&mut from, &mut line).await, Ok(LineEnd::End)));
    }
}
