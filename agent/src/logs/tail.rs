//! Reads a file that grows, line by line, from a place that is kept over restarts.
//!
//! A file can wait, so it is read no faster than the budget of lines has room. Only when far more
//! has been written than was read, the oldest of it is skipped, and its lines are counted; of a
//! flood that is too large to count, their number is estimated.
//!
//! Lines wait in the file while the backlog is under 1 MiB. Above that, all but the newest 256 KiB are
//! skipped in one step. The number of skipped lines is reported with the next line of their source; only
//! a kill before that report can lose it. Counting means reading, and a program can write a gigabyte a
//! second: of more than 8 MiB the oldest part is released unread, and its lines are estimated from the
//! mean length of those that were read. The log says so.

mod skip;
pub(super) mod zeros;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use systole_shared::{LogStream, UnixMillis};
use tokio::time::Instant;

use super::budget::{LogBuffer, MAX_WAITING_BYTES};
use super::check::Recent;
use super::density::Density;
use super::lines::LineSplitter;
use super::multiline::{Entry, Joiner};
use super::read_offsets::{Offset, SourceId};
use super::{Line, lock};
use crate::model::multiline::MultilineRule;

/// Unread bytes beyond which the oldest lines are skipped: a minute of usual lines at the budget.
pub(super) const MAX_BACKLOG_BYTES: u64 = 1024 * 1024;

/// What is left of a backlog then, so that lines are not skipped all the time but in few steps.
const KEPT_BACKLOG_BYTES: u64 = 256 * 1024;

/// One read: enough for hundreds of lines; one buffer serves all files of a round.
const READ_BYTES: usize = 64 * 1024;

/// What is read of one file before others have their turn.
const MAX_SLICE_BYTES: u64 = 4 * 1024 * 1024;

/// The parts that all files of a round have in common.
pub(super) struct Round<'r> {
    /// Which lines belong together.
    pub(super) rule: Option<&'r Arc<MultilineRule>>,
    /// The amount to read.
    pub(super) amount: Amount,
    /// The time of the lines.
    pub(super) at: UnixMillis,
    /// The same for the budget.
    pub(super) now: Instant,
    /// The turn of the next pipeline, if one waits.
    pub(super) until: Option<Instant>,
    /// Where is read into.
    pub(super) scratch: &'r mut Vec<u8>,
}

impl Round<'_> {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// The amount to read in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// What the budget has room for, but for this many lines, which are left to others.
    WithinBudget { spared: usize },
    /// All there is; beyond the budget the oldest lines are dropped.
    Everything,
}

/// The reason why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// There is no more.
    End,
    /// The budget has no room.
    Budget,
    /// There is more than one slice; others have their turn now.
    Slice,
    /// The file is shorter than what was read of it: it was truncated.
    Beginning,
}

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    source: SourceId,
    stream: LogStream,
    /// After the last byte that was taken.
    offset: u64,
    /// A checksum of the text before that.
    recent: Recent,
    splitter: LineSplitter,
    joiner: Joiner,
    /// Lines that were skipped and are not reported with a later line yet.
    skipped: u64,
    /// Where bytes stood that make no difference any more: those lines, and what lines have too much.
    skipped_range: Range<u64>,
    /// How long its lines are.
    density: Density,
    /// The last round has skipped lines.
    is_flooded: bool,
}

impl Tail {
    /// Reads `file` from `offset` on.
    pub(super) fn new(file: File, source: SourceId, stream: LogStream, offset: u64) -> Self {
        Tail {
            file,
            source,
            stream,
            offset,
            recent: Recent::default(),
            splitter: LineSplitter::default(),
            joiner: Joiner::default(),
            skipped: 0,
            skipped_range: 0..0,
            density: Density::default(),
            is_flooded: false,
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The source of the lines.
    pub(super) fn source(&self) -> SourceId {
        self.source
    }

    /// Learns what precedes the offset, of a file that others may rewrite.
    pub(super) fn learn_recent(&mut self) -> io::Result<()> {
        self.recent.load(&self.file, self.offset)
    }

    /// Whether the file still has what was read of it last.
    pub(super) fn is_as_read(&self) -> io::Result<bool> {
        self.recent.is_in(&self.file, self.offset)
    }

    /// The read offset.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether more came than there was room for: more is expected at once.
    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded
    }

    /// Where bytes were skipped last.
    pub(super) fn take_skipped_range(&mut self) -> Option<Range<u64>> {
        let range = std::mem::take(&mut self.skipped_range);
        (!range.is_empty()).then_some(range)
    }

    /// Lines that were skipped and are not reported with a later line.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Begins at the file's beginning again, as another source. What was held of a line is lost with
    /// the file's old content.
    pub(super) fn begin_anew(&mut self, source: SourceId) {
        self.source = source;
        self.offset = 0;
        self.recent.clear();
        self.splitter = LineSplitter::default();
        self.joiner = Joiner::default();
    }

    /// Reads on. `size` is the file's: every file is asked for it once a round, most have nothing new.
    pub(super) fn read(&mut self, size: u64, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> io::Result<Reached> {
        if size < self.offset {
            return Ok(Reached::Beginning);
        }
        // Of a log file: a hole in output is what was released.
        let size = if self.stream == LogStream::File { zeros::data_end(&self.file, self.offset, size)? } else { size };
        let kept = match round.amount {
            Amount::WithinBudget { .. } => KEPT_BACKLOG_BYTES,
            Amount::Everything => MAX_WAITING_BYTES as u64,
        };
        self.is_flooded = size - self.offset > MAX_BACKLOG_BYTES && round.amount != Amount::Everything;
        self.jump_over(size, kept, logs, round)?;
        if size.saturating_sub(self.offset) > MAX_BACKLOG_BYTES && !self.skip(size - kept, logs, round)? {
            return Ok(Reached::Slice);
        }
        let begin = self.offset;
        while self.offset < size {
            let is_enough = self.offset >= begin + MAX_SLICE_BYTES || (self.offset > begin && round.is_over());
            if is_enough && round.amount != Amount::Everything {
                return Ok(Reached::Slice);
            }
            round.scratch.resize(READ_BYTES, 0);
            // Of a log file not beyond its text.
            let length = match self.stream {
                LogStream::File => READ_BYTES.min(usize::try_from(size - self.offset).unwrap_or(READ_BYTES)),
                _ => READ_BYTES,
            };
            let read = self.file.read_at(&mut round.scratch[..length], self.offset)?;
            if read == 0 {
                break;
            }
            if !self.take(read, logs, round) {
                return Ok(Reached::Budget);
            }
        }
        let mut logs = lock(logs);
        if self.joiner.is_waiting()
            && logs.room(round.now) > 0
            && let Some(entry) = self.joiner.flush_old(round.now)
        {
            self.emit(entry, &mut logs, round.now);
        }
        Ok(Reached::End)
    }

    /// Takes what was read; false if the budget has no room for all of it.
    fn take(&mut self, read: usize, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> bool {
        let mut bytes = &round.scratch[..read];
        let mut logs = lock(logs);
        while !bytes.is_empty() {
            if self.splitter.is_between_lines() && bytes[0] == 0 {
                bytes = &bytes[self.skip_hole(bytes)..];
                continue;
            }
            if let Amount::WithinBudget { spared } = round.amount
                && logs.room(round.now) <= spared
            {
                return false;
            }
            let begin = self.splitter.is_skipping().then_some(self.offset);
            let (used, line) = self.splitter.take(bytes);
            self.offset += used as u64;
            self.recent.push(&bytes[..used]);
            self.density.saw(used as u64, u64::from(line.is_some()));
            if let Some(begin) = begin.filter(|_| line.is_none()) {
                self.note_skipped(begin..self.offset);
            }
            bytes = &bytes[used..];
            if let Some(text) = line {
                let line = Entry { text, at: round.at, end: self.offset, check: self.recent.check() };
                for entry in self.joiner.push(round.rule, line, round.now) {
                    self.emit(entry, &mut logs, round.now);
                }
            }
        }
        true
    }

    /// Zeros where a line should begin are no text, but what was released to the disk, or what a
    /// program left that does not append to its log when that is truncated. Returns how many of them
    /// are in `bytes`.
    fn skip_hole(&mut self, bytes: &[u8]) -> usize {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let behind = self.offset + zeros as u64;
        self.offset = if zeros == bytes.len() { zeros::next_data(&self.file, behind) } else { behind };
        self.recent.clear();
        zeros
    }

    fn emit(&mut self, entry: Entry, logs: &mut LogBuffer, now: Instant) {
        let line = Line { at: entry.at, stream: self.stream, text: entry.text.text, level: entry.text.level };
        let line_end = Offset { source: self.source, end: entry.end, check: entry.check };
        logs.push_at(line, line_end, std::mem::take(&mut self.skipped), now);
    }

    /// No further line comes: the entry that waits for one is whole.
    pub(super) fn flush(&mut self, logs: &Mutex<LogBuffer>, now: Instant) {
        if let Some(entry) = self.joiner.flush() {
            self.emit(entry, &mut lock(logs), now);
        }
    }

    /// No process writes any more: what is held is a line, though it has no end.
    pub(super) fn finish(&mut self, logs: &Mutex<LogBuffer>, round: &Round<'_>) {
        let check = self.recent.check();
        let rest = self.splitter.finish().map(|text| Entry { text, at: round.at, end: self.offset, check });
        let mut logs = lock(logs);
        let entries = rest.into_iter().flat_map(|line| self.joiner.push(round.rule, line, round.now));
        let entries: Vec<Entry> = entries.collect();
        for entry in entries.into_iter().chain(self.joiner.flush()) {
            self.emit(entry, &mut logs, round.now);
        }
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
