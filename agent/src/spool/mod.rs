//! Reports that the collector has not acknowledged yet, on the disk and in order.
//!
//! The agents' spools are the collector's write-ahead log: a report is written here before it is
//! sent, and forgotten when the collector has committed it. Only an index is kept in memory, so that
//! a long outage costs disk and not memory. Not a key-value store: reports are written once, read
//! in order, and deleted in order, and files of appended records do just that.
//!
//! Without a usable disk the agent continues in memory, and comes back to the disk by itself.
//!
//! The decisions are in docs/adr/0002-agent-spool.md. A merge stops at a change of a pipeline's state, so
//! that changes keep their times, and at a sixteenth of the spool in lines, so that a full spool does not
//! drop a whole minute at once.

mod merge;
pub(crate) mod outbox;
mod read_ahead;
mod record;
mod segment;
mod sent;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use systole_shared::{BootId, UnixMillis};

use self::segment::{Opened, Segment};
use self::sent::SentMark;
use crate::files;
use crate::model::spool::Bounds;

/// Bytes that may wait in memory while the disk does not take them: minutes of ten pipelines.
const MAX_MEMORY_BYTES: usize = 2 * 1024 * 1024;

/// The spool is made of about this many files; the oldest one is what goes when it is full.
const SEGMENTS: u64 = 64;

/// Bytes of lines in a merged report: it must fit into a request, with what else is in it.
const MAX_MERGED_LINES: usize = 1024 * 1024;

/// Nor may they be more than this part of the spool, which drops whole reports when it is full.
const MERGED_SHARE: u64 = 16;

/// A report, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// The run of the agent that made it.
    pub(crate) boot: BootId,
    /// Its number.
    pub(crate) seq: u64,
    /// Its JSON.
    pub(crate) body: Arc<[u8]>,
    /// Log lines in it, which are lost with it.
    pub(crate) log_lines: u64,
}

/// Reports that were dropped. Numbers of reports stay as they are, so the collector sees the hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Reports.
    pub(crate) reports: u64,
    /// Log lines in them.
    pub(crate) log_lines: u64,
}

impl Lost {
    fn add(&mut self, reports: u64, log_lines: u64) {
        self.reports += reports;
        self.log_lines += log_lines;
    }
}

/// The result of adding a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Reports that were dropped for want of room.
    pub(crate) lost: Lost,
    /// Reports that the disk did not return.
    pub(crate) damaged: Lost,
    /// Whether the disk has just stopped or begun to take reports.
    pub(crate) disk: DiskNews,
}

/// News of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DiskNews {
    /// Nothing new.
    #[default]
    None,
    /// It takes reports no more, for this reason.
    Lost(io::ErrorKind),
    /// It takes them again.
    Back,
}

/// The reports that wait.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    boot: BootId,
    bounds: Bounds,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Reports behind those on the disk, which it has not taken yet.
    memory: VecDeque<Queued>,
    memory_bytes: usize,
    sent: SentMark,
    disk_is_lost: bool,
    /// What the disk lost, until the next report.
    unread: Lost,
}

impl Spool {
    /// Opens the spool with what earlier runs of the agent left in it. A disk that cannot be used
    /// is reported with the first report.
    pub(crate) fn open(dir: &Path, boot: BootId, bounds: Bounds) -> Self {
        let mut unread = Lost::default();
        let segments = load(dir, &mut unread).unwrap_or_default();
        Spool {
            dir: dir.to_owned(),
            boot,
            bounds,
            sent: SentMark::open(dir, &segments),
            segments,
            memory: VecDeque::new(),
            memory_bytes: 0,
            disk_is_lost: false,
            unread,
        }
    }

    /// Adds a report of this run.
    pub(crate) fn push(&mut self, seq: u64, body: Arc<[u8]>, log_lines: u64, now: UnixMillis) -> Pushed {
        self.memory_bytes += body.len();
        self.memory.push_back(Queued { boot: self.boot, seq, body, log_lines });
        let written = self.write_memory();
        let disk = match (&written, self.disk_is_lost) {
            (Err(error), false) => DiskNews::Lost(error.kind()),
            (Ok(()), true) => DiskNews::Back,
            _ => DiskNews::None,
        };
        self.disk_is_lost = written.is_err();
        let damaged = std::mem::take(&mut self.unread);
        let mut lost = Lost::default();
        self.bound_memory(&mut lost);
        self.bound_age(now, &mut lost);
        self.bound_disk(&mut lost);
        Pushed { lost, damaged, disk }
    }

    fn segment_bytes(&self) -> u64 {
        (self.bounds.bytes / SEGMENTS).max(4 * 1024)
    }

    /// Brings to the disk what waits in memory, in order.
    fn write_memory(&mut self) -> io::Result<()> {
        while let Some(first) = self.memory.front() {
            let is_new = self
                .segments
                .back()
                .is_none_or(|last| last.boot != first.boot || last.is_merged || last.bytes >= self.segment_bytes());
            if is_new {
                files::make_dir(&self.dir)?;
                if let Some(full) = self.segments.back() {
                    sync_elsewhere(full);
                }
                self.segments.push_back(Segment::create(&self.dir, first.boot, first.seq)?);
            }
            let Some(last) = self.segments.back_mut() else { return Ok(()) };
            last.append(&first.body)?;
            self.memory_bytes -= first.body.len();
            self.memory.pop_front();
        }
        Ok(())
    }

    fn bound_memory(&mut self, lost: &mut Lost) {
        while self.memory_bytes > MAX_MEMORY_BYTES && self.memory.len() > 1 {
            if let Some(oldest) = self.memory.pop_front() {
                self.memory_bytes -= oldest.body.len();
                lost.add(1, oldest.log_lines);
            }
        }
    }

    fn bound_age(&mut self, now: UnixMillis, lost: &mut Lost) {
        let age = i64::try_from(self.bounds.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(age);
        for segment in &mut self.segments {
            while let Some(entry) = segment.entries.front().filter(|entry| entry.end < oldest) {
                lost.add(entry.reports(), entry.log_lines);
                segment.entries.pop_front();
            }
        }
        self.drop_empty();
    }

    /// Merges the oldest files when the spool is more than half full, and drops the oldest when it
    /// is full all the same. One file at a time: a report must not wait for the whole spool.
    fn bound_disk(&mut self, lost: &mut Lost) {
        let bytes = |spool: &Self| spool.segments.iter().map(|segment| segment.bytes).sum::<u64>();
        if bytes(self) > self.bounds.bytes / 2 {
            let closed = self.segments.len().saturating_sub(1);
            let next = self.segments.iter().take(closed).position(|segment| !segment.is_merged);
            if let Some(Err(error)) = next.map(|index| self.merge(index)) {
                tracing::debug!(%error, "cannot merge reports of the spool; they stay as they are");
            }
        }
        while bytes(self) > self.bounds.bytes && self.segments.len() > 1 {
            if let Some(oldest) = self.segments.pop_front() {
                oldest.entries.iter().for_each(|entry| lost.add(entry.reports(), entry.log_lines));
                remove(oldest);
            }
        }
    }

    /// Merges the reports of a file. Their first minute may have begun in the file before: then what
    /// that one has of it comes along, or large reports, a file each, would never be merged.
    fn merge(&mut self, index: usize) -> io::Result<()> {
        let segment = &self.segments[index];
        let sent = self.sent.upto(segment.boot);
        let before = index.checked_sub(1).map(|before| &self.segments[before]);
        let before = before.filter(|before| before.boot == segment.boot);
        let earlier = before.zip(segment.entries.front()).and_then(|(before, first)| {
            let last = before.entries.back().filter(|last| last.seq > sent && last.is_same_minute(first))?;
            before.read(last)
        });
        let comes_along = earlier.is_some();
        let max_line_bytes = usize::try_from(self.bounds.bytes / MERGED_SHARE)
            .map_or(MAX_MERGED_LINES, |bytes| bytes.min(MAX_MERGED_LINES));
        self.segments[index].merge(earlier, sent, max_line_bytes)?;
        if comes_along {
            let before = &mut self.segments[index - 1];
            before.drop_last()?;
            if before.entries.is_empty()
                && let Some(empty) = self.segments.remove(index - 1)
            {
                remove(empty);
            }
        }
        Ok(())
    }

    /// The oldest reports of one run, at most `max_reports` and `max_bytes` of them, but at least
    /// one. They count as sent from here on.
    pub(crate) fn oldest(&mut self, max_reports: usize, max_bytes: usize) -> Vec<Queued> {
        let mut taken: Vec<Queued> = Vec::new();
        let mut bytes = 0;
        let mut room = |length: usize, taken: &[Queued]| {
            bytes += length;
            taken.is_empty() || (taken.len() < max_reports.max(1) && bytes <= max_bytes)
        };
        'disk: for segment in &mut self.segments {
            let mut index = 0;
            while let Some(entry) = segment.entries.get(index).copied() {
                if taken.first().is_some_and(|first| first.boot != segment.boot) || !room(entry.length, &taken) {
                    break 'disk;
                }
                match segment.read(&entry) {
                    Some(body) => {
                        taken.push(Queued {
                            boot: segment.boot,
                            seq: entry.seq,
                            body: body.into(),
                            log_lines: entry.log_lines,
                        });
                        index += 1;
                    }
                    // The disk has lost it; the collector will see the hole.
                    None => {
                        segment.entries.remove(index);
                        self.unread.add(entry.reports(), entry.log_lines);
                    }
                }
            }
        }
        let is_whole_disk = taken.len() == self.segments.iter().map(|segment| segment.entries.len()).sum::<usize>();
        if is_whole_disk {
            for report in &self.memory {
                let is_other = taken.first().is_some_and(|first| first.boot != report.boot);
                if is_other || !room(report.body.len(), &taken) {
                    break;
                }
                taken.push(report.clone());
            }
        }
        if let Some(last) = taken.last() {
            self.sent.raise(last.boot, last.seq);
        }
        taken
    }

    /// Forgets the reports of a run up to `seq`; returns how many there were.
    pub(crate) fn forget(&mut self, boot: BootId, seq: u64) -> usize {
        let segments = self.segments.iter_mut().filter(|segment| segment.boot == boot);
        let mut forgotten: usize = segments.map(|segment| segment.forget(seq)).sum();
        while self.memory.front().is_some_and(|report| report.boot == boot && report.seq <= seq) {
            self.memory_bytes -= self.memory.pop_front().map_or(0, |report| report.body.len());
            forgotten += 1;
        }
        self.drop_empty();
        forgotten
    }

    /// Files without a report that waits: the last one is used again, the others are removed.
    fn drop_empty(&mut self) {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.entries.is_empty()) {
            if let Some(empty) = self.segments.pop_front() {
                remove(empty);
            }
        }
        let own = self.boot;
        let is_done = |segment: &&mut Segment| segment.entries.is_empty() && segment.bytes > 0;
        let is_stale = match self.segments.back_mut().filter(is_done) {
            Some(last) => last.boot != own || last.clear().is_err(),
            None => false,
        };
        if is_stale && let Some(last) = self.segments.pop_back() {
            remove(last);
        }
    }

    /// Whether a report of an earlier run has come into the spool: it is there, or was sent.
    pub(crate) fn has_seen(&self, boot: BootId, seq: u64) -> bool {
        let waits = |segment: &Segment| segment.boot == boot && segment.entries.iter().any(|entry| entry.seq >= seq);
        self.segments.iter().any(waits) || self.sent.has_mark(boot, seq)
    }

    /// Whether reports wait that the disk does not have, so that they would be lost with the agent.
    pub(crate) fn waits_in_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// The number of waiting reports, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let on_disk = self.segments.iter().flat_map(|segment| &segment.entries);
        let (reports, bytes) =
            on_disk.fold((0, 0), |(reports, bytes), entry| (reports + 1, bytes + entry.length as u64));
        (reports + self.memory.len() as u64, bytes + self.memory_bytes as u64)
    }

    /// Writes everything down to the disk, for the end of the agent.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.segments.back() {
            Some(last) => last.handle()?.sync_data(),
            None => Ok(()),
        }
    }
}

/// What earlier runs left. A file that cannot be read is left where it is.
fn load(dir: &Path, unread: &mut Lost) -> io::Result<VecDeque<Segment>> {
    let mut segments = VecDeque::new();
    for path in Segment::find(dir)? {
        match Segment::open(path.clone()) {
            Ok(Some(Opened { segment, damaged })) => {
                if damaged > 0 {
                    unread.add(damaged, 0);
                    tracing::warn!(
                        path = %path.display(),
                        reports = damaged,
                        "a file of the spool is damaged: these reports are lost, all others in it are sent; the disk may be failing"
                    );
                }
                if segment.entries.is_empty() {
                    remove(segment);
                } else {
                    drop_twins(&mut segments, &segment);
                    segments.push_back(segment);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a file of the spool; its reports stay there and are not sent");
            }
        }
    }
    Ok(segments)
}

/// A report that was merged into the next file, and that a killed agent had no time to take out of
/// its own.
fn drop_twins(segments: &mut VecDeque<Segment>, next: &Segment) {
    let is_twin = |before: &Segment| {
        let (Some(last), Some(first)) = (before.entries.back(), next.entries.front()) else { return false };
        before.boot == next.boot && last.seq >= first.from()
    };
    while let Some(before) = segments.back_mut().filter(|before| is_twin(before)) {
        if let Err(error) = before.drop_last() {
            tracing::debug!(%error, "cannot truncate a file of the spool");
        }
        if before.entries.is_empty()
            && let Some(empty) = segments.pop_back()
        {
            remove(empty);
        }
    }
}

fn remove(segment: Segment) {
    if let Err(error) = segment.remove() {
        tracing::debug!(%error, "cannot delete a file of the spool");
    }
}

/// Syncs a full file to the disk in the background.
fn sync_elsewhere(segment: &Segment) {
    let (Ok(file), Ok(runtime)) = (segment.handle(), tokio::runtime::Handle::try_current()) else { return };
    runtime.spawn_blocking(move || file.sync_data());
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
