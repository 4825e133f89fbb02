//! Passing over the oldest part of a file: its lines are counted, or their number is estimated.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use super::{LogBuffer, READ_BYTES, Round, Tail, lock};
use crate::logs::lines::LineSplitter;

/// Unread bytes of one file whose lines are counted when they are passed over. What is more is not
/// read at all: a program writes faster than anybody counts, and the disk has an end.
const MAX_COUNTED_BYTES: u64 = 8 * 1024 * 1024;

/// What is counted at least before others have their turn, so that every turn comes to something.
const LEAST_COUNTED_BYTES: u64 = 256 * 1024;

impl Tail {
    /// Passes over whole lines up to `target`; false when there is no time for all of them.
    pub(super) fn skip(&mut self, target: u64, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> io::Result<bool> {
        round.scratch.resize(READ_BYTES, 0);
        let (mut at, mut lines, mut behind_last) = (self.offset, 0, self.offset);
        while at < target && (at < self.offset + LEAST_COUNTED_BYTES || !round.is_over()) {
            let length = round.scratch.len().min(usize::try_from(target - at).unwrap_or(usize::MAX));
            let read = self.file.read_at(&mut round.scratch[..length], at)?;
            if read == 0 {
                break;
            }
            let bytes = &round.scratch[..read];
            if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
                lines += count_lines(&bytes[..=last]);
                behind_last = at + last as u64 + 1;
            }
            at += read as u64;
        }
        if lines == 0 {
            self.skip_line(at, round)?;
        } else {
            self.density.saw(behind_last - self.offset, lines);
            self.skip_lines(behind_last, lines, logs, round);
        }
        Ok(at >= target)
    }

    /// When more is unread of a file of this size than is counted: passes over all but `kept` bytes
    /// without reading them.
    pub(super) fn jump_over(
        &mut self,
        size: u64,
        kept: u64,
        logs: &Mutex<LogBuffer>,
        round: &mut Round<'_>,
    ) -> io::Result<()> {
        // Once, but for holes.
        while size.saturating_sub(self.offset) > MAX_COUNTED_BYTES {
            let before = self.offset;
            self.jump(size - kept, logs, round)?;
            if self.offset == before || round.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Passes over what stands before `target`, and goes on at the first line behind.
    fn jump(&mut self, target: u64, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> io::Result<()> {
        round.scratch.resize(READ_BYTES, 0);
        let read = self.file.read_at(round.scratch, self.offset)?;
        let head = &round.scratch[..read];
        if self.splitter.is_between_lines() && head.first() == Some(&0) {
            self.skip_hole(&round.scratch[..read]);
            return Ok(());
        }
        let head_lines = count_lines(head);
        let read_behind = self.file.read_at(round.scratch, target)?;
        let behind = &round.scratch[..read_behind];
        let first = behind.iter().position(|byte| *byte == b'\n');
        if head_lines == 0 && first.is_none() {
            return self.skip_line(target, round);
        }
        self.density.saw((read + read_behind) as u64, head_lines + count_lines(behind));
        // Of a line that is longer than what was looked at, the rest is taken for a line.
        let end = target + first.map_or(0, |first| first as u64 + 1);
        let lines = self.density.estimate(end - self.offset);
        lock(logs).add_estimated(lines);
        self.skip_lines(end, lines, logs, round);
        Ok(())
    }

    /// Passes over all that is left of a file of this size, also of a line without an end.
    pub(in crate::logs) fn skip_rest(
        &mut self,
        size: u64,
        logs: &Mutex<LogBuffer>,
        round: &mut Round<'_>,
    ) -> io::Result<()> {
        let until = round.until.take();
        let jumped = self.jump_over(size, 0, logs, round);
        let counted = if self.offset < size { jumped.and_then(|()| self.skip(size, logs, round)) } else { Ok(true) };
        round.until = until;
        counted?;
        if self.offset < size || !self.splitter.is_between_lines() {
            self.skip_lines(size, 1, logs, round);
        }
        Ok(())
    }

    fn skip_lines(&mut self, end: u64, lines: u64, logs: &Mutex<LogBuffer>, round: &Round<'_>) {
        self.flush(logs, round.now);
        self.splitter = LineSplitter::default();
        self.skipped += lines;
        self.note_skipped(self.offset..end);
        self.offset = end;
        self.recent.clear();
    }

    pub(super) fn note_skipped(&mut self, range: Range<u64>) {
        let joins = !self.skipped_range.is_empty() && self.skipped_range.end == range.start;
        self.skipped_range = if joins { self.skipped_range.start..range.end } else { range };
    }

    /// A single line goes beyond `end`: takes as much of it as is reported, and passes over the rest.
    fn skip_line(&mut self, end: u64, round: &mut Round<'_>) -> io::Result<()> {
        let reported = self.offset + 2 * READ_BYTES as u64;
        while self.offset < reported && !self.splitter.is_skipping() {
            let read = self.file.read_at(round.scratch, self.offset)?;
            if read == 0 || end < reported {
                return Ok(());
            }
            if self.splitter.is_between_lines() && round.scratch[0] == 0 {
                self.skip_hole(&round.scratch[..read]);
                return Ok(());
            }
            self.offset += self.splitter.take(&round.scratch[..read]).0 as u64;
            self.recent.clear();
        }
        self.splitter.skip();
        self.recent.clear();
        if self.offset < end {
            // Though the line has no end yet: it may never have one, and would fill the disk.
            self.note_skipped(self.offset..end);
            self.offset = end;
        }
        Ok(())
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
