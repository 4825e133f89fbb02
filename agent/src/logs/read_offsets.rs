//! How far the lines of each source have come: into a report, and into the spool.
//!
//! A line that was read waits for a report, and a report waits for the spool; an agent that is killed
//! in between must read it again. So what is kept over restarts is not how far a source was read,
//! but after which of its lines nothing is missing in the reports.

mod journal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::check::{Check, Point};
use super::identity::Identity;
use super::path_text;
pub(crate) use journal::JournalPlace;
use journal::SavedJournal;

/// How long the place in a file that cannot be found is kept: its mount may come back.
const MISSING_FOR_MS: i64 = 7 * 24 * 3_600_000;

/// The time of a sighting is kept this exactly, so that an idle agent has nothing to write.
const SEEN_STEP_MS: i64 = 3_600_000;

/// Places in files that are not followed: each takes some 200 bytes of what is written with a report. The
/// files that were not seen for longest are forgotten.
pub(crate) const MAX_REMEMBERED: usize = 1_000;

/// Contents of one file that are gone and may come as copies: a log may be truncated more than once before
/// its first copy is found.
const MAX_ENDED_CONTENTS: usize = 8;

/// One source of lines, within its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceId(u64);

/// The end of a line in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) source: SourceId,
    pub(crate) end: u64,
    /// A checksum of the text before the end.
    pub(crate) check: Check,
}

impl Offset {
    fn point(&self) -> Point {
        Point { offset: self.end, check: self.check }
    }
}

/// The state of a pipeline's lines that is kept over restarts of the agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct SavedLogs {
    /// The process's output: names of files, and after which byte lines are missing in the reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, u64>,
    /// Log files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<SavedFile>,
    /// The patterns whose files were searched at least once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    patterns: BTreeSet<String>,
    /// Files that were written to last by this time may have been forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten_until: Option<UnixMillis>,
    /// The journal of the pipeline's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    journal: Option<SavedJournal>,
}

impl SavedLogs {
    /// Whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        *self == SavedLogs::default()
    }
}

/// A log file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct SavedFile {
    #[serde(with = "path_text")]
    path: PathBuf,
    #[serde(flatten)]
    identity: Identity,
    offset: u64,
    /// What precedes the offset; versions before this one did not keep it.
    #[serde(default, skip_serializing_if = "Check::is_none")]
    check: Check,
    seen: UnixMillis,
    #[serde(default, skip_serializing_if = "is_false")]
    is_ended: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The identity of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKey {
    /// A file of the process's output, by its name.
    Output(String),
    /// A log file.
    File { path: PathBuf, identity: Identity },
    /// The journal of a systemd unit, from a time on.
    Journal { unit: String, since: UnixMillis },
}

/// A log file that is known and not followed.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) id: SourceId,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// The read offset.
    pub(crate) taken: Point,
    /// The file has other content now; a copy of it may come.
    pub(crate) is_ended: bool,
}

/// How far one source has come.
#[derive(Debug)]
struct Source {
    key: SourceKey,
    /// Lines that wait for a report.
    waiting: usize,
    /// After the last line that was taken.
    taken: Point,
    /// After the last line that was put into a report, or dropped and counted.
    covered: Point,
    /// The same as of the last report.
    reported: Point,
    /// The same as of the last report that cannot be lost any more.
    committed: u64,
    /// When it was last seen; none while it is followed.
    missing_since: Option<UnixMillis>,
    /// It is where it was, and only waits to be written to.
    is_present: bool,
    /// The file has other content now.
    is_ended: bool,
    /// Nothing more will come of it.
    is_retired: bool,
    /// Of a journal: the cursor of the last line in a report.
    cursor: Option<String>,
    /// Of a journal: the numbers and cursors of later lines. Lines wait for a report within a budget.
    cursors: VecDeque<(u64, String)>,
}

/// All sources of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct ReadOffsets {
    sources: BTreeMap<SourceId, Source>,
    patterns: BTreeSet<String>,
    forgotten_until: Option<UnixMillis>,
    last_id: u64,
}

impl ReadOffsets {
    /// A new source that is read from `offset` on.
    pub(crate) fn open(&mut self, key: SourceKey, offset: u64) -> SourceId {
        self.open_at(key, Point::at(offset))
    }

    /// The same where it is known what precedes.
    pub(crate) fn open_at(&mut self, key: SourceKey, point: Point) -> SourceId {
        self.add(key, point, None)
    }

    fn add(&mut self, key: SourceKey, point: Point, missing_since: Option<UnixMillis>) -> SourceId {
        self.last_id += 1;
        let id = SourceId(self.last_id);
        let source = Source {
            key,
            waiting: 0,
            taken: point,
            covered: point,
            reported: point,
            committed: point.offset,
            missing_since,
            is_present: false,
            is_ended: false,
            is_retired: false,
            cursor: None,
            cursors: VecDeque::new(),
        };
        self.sources.insert(id, source);
        id
    }

    /// Continues from what an earlier run of the agent kept.
    pub(crate) fn restore(&mut self, saved: SavedLogs, now: UnixMillis) {
        for (name, offset) in saved.outputs {
            self.add(SourceKey::Output(name), Point::at(offset), Some(now));
        }
        let mut files = saved.files;
        files.retain(|file| file.seen > now - MISSING_FOR_MS);
        files.sort_by_key(|file| std::cmp::Reverse(file.seen));
        for SavedFile { path, identity, offset, check, seen, is_ended } in files.into_iter().take(MAX_REMEMBERED) {
            let id = self.add(SourceKey::File { path, identity }, Point { offset, check }, Some(seen.min(now)));
            if let Some(source) = self.sources.get_mut(&id) {
                source.is_ended = is_ended;
            }
        }
        saved.journal.into_iter().for_each(|journal| self.restore_journal(journal, now));
        self.patterns = saved.patterns;
        self.forgotten_until = saved.forgotten_until;
    }

    /// Continues a source of an earlier run; returns the offset to read from.
    pub(crate) fn claim(&mut self, is_it: impl Fn(&SourceKey) -> bool) -> Option<(SourceId, u64)> {
        let missing = |source: &Source| source.missing_since.is_some() && is_it(&source.key);
        let (id, source) =
            self.sources.iter_mut().find(|(_, source)| missing(source)).map(|(id, source)| (*id, source))?;
        source.missing_since = None;
        Some((id, source.taken.offset))
    }

    /// Follows on a file that was remembered.
    pub(crate) fn claim_file(&mut self, id: SourceId, key: SourceKey) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.missing_since = None;
            source.is_present = false;
            source.key = key;
        }
    }

    /// The log files that are known and not followed.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = Remembered> {
        let missing = self.sources.iter().filter(|(_, source)| source.missing_since.is_some() && !source.is_retired);
        missing.filter_map(|(id, source)| match &source.key {
            SourceKey::File { path, identity } => Some(Remembered {
                id: *id,
                path: path.clone(),
                identity: *identity,
                taken: source.taken,
                is_ended: source.is_ended,
            }),
            SourceKey::Output(_) | SourceKey::Journal { .. } => None,
        })
    }

    /// Notes which of them are where they were: they are remembered for as long as that is so.
    pub(crate) fn note_present(&mut self, is_there: impl Fn(&Identity, &Path) -> bool) {
        for source in self.sources.values_mut().filter(|source| source.missing_since.is_some()) {
            if let SourceKey::File { path, identity } = &source.key {
                source.is_present = !source.is_ended && is_there(identity, path);
            }
        }
    }

    /// Until when files may have been forgotten, by the time of their last writing.
    pub(crate) fn forgotten_until(&self) -> Option<UnixMillis> {
        self.forgotten_until
    }

    /// A file that was written to last at this time is not remembered.
    pub(crate) fn forget_until(&mut self, written: UnixMillis) {
        self.forgotten_until = self.forgotten_until.max(Some(written));
    }

    /// The output files of an earlier run that were not found are gone.
    pub(crate) fn forget_missing_outputs(&mut self) {
        self.sources.retain(|_, source| source.missing_since.is_none() || !matches!(source.key, SourceKey::Output(_)));
    }

    /// A source has another name, or more is known of it.
    pub(crate) fn set_key(&mut self, id: SourceId, key: SourceKey) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.key = key;
        }
    }

    /// A source is not followed any more, but its place is remembered.
    pub(crate) fn lose(&mut self, lost: SourceId, now: UnixMillis) {
        if let Some(source) = self.sources.get_mut(&lost) {
            source.missing_since = Some(now);
        }
        let missing = self.sources.iter().filter_map(|(id, source)| match source.key {
            SourceKey::File { .. } if !source.is_retired && *id != lost => {
                Some((source.missing_since?, *id, source.is_present))
            }
            _ => None,
        });
        let missing: Vec<_> = missing.collect();
        if missing.len() >= MAX_REMEMBERED
            && let Some((since, oldest, is_present)) = missing.into_iter().min()
        {
            if is_present {
                self.forget_until(since);
            }
            self.retire(oldest);
        }
    }

    /// The content of a file is gone, and another one is in its place. How far it was read is remembered:
    /// a copy of it may come.
    pub(crate) fn end_content(&mut self, id: SourceId, now: UnixMillis) {
        let Some(SourceKey::File { path, identity }) = self.sources.get(&id).map(|source| source.key.clone()) else {
            return;
        };
        let of_file = self.sources.values_mut().filter(|source| source.is_ended && !source.is_retired);
        let mut of_file: Vec<&mut Source> = of_file
            .filter(|source| match &source.key {
                SourceKey::File { path: other_path, identity: other } => {
                    *other_path == path && other.inode() == identity.inode()
                }
                SourceKey::Output(_) | SourceKey::Journal { .. } => false,
            })
            .collect();
        // The oldest first: ids grow.
        let too_many = (of_file.len() + 1).saturating_sub(MAX_ENDED_CONTENTS);
        of_file.iter_mut().take(too_many).for_each(|source| source.is_retired = true);
        if let Some(source) = self.sources.get_mut(&id) {
            source.is_ended = true;
        }
        self.lose(id, now);
    }

    /// Nothing more will come of a source; it is kept until its last line is in a report.
    pub(crate) fn retire(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.is_retired = true;
        }
    }

    /// Whether the files of a pattern were searched before, now or in an earlier run.
    pub(crate) fn knows_pattern(&self, pattern: &str) -> bool {
        self.patterns.contains(pattern)
    }

    /// The files of a pattern were searched.
    pub(crate) fn learn_pattern(&mut self, pattern: &str) {
        self.patterns.insert(pattern.to_owned());
    }

    /// A line of a source waits for a report.
    pub(crate) fn wait(&mut self, line_end: Offset) {
        if let Some(source) = self.sources.get_mut(&line_end.source) {
            source.waiting += 1;
            source.taken = line_end.point();
        }
    }

    /// A line does not wait any more: it is in a report, or was dropped and counted.
    pub(crate) fn mark_reported(&mut self, line_end: Offset) {
        if let Some(source) = self.sources.get_mut(&line_end.source) {
            source.waiting -= 1;
            source.covered = line_end.point();
        }
    }

    /// A report was made: what is covered now is so by this report or one before.
    pub(crate) fn close_report(&mut self, now: UnixMillis) -> SavedLogs {
        self.sources.retain(|_, source| !source.is_retired || source.waiting > 0);
        let mut saved = SavedLogs {
            patterns: self.patterns.clone(),
            forgotten_until: self.forgotten_until,
            ..SavedLogs::default()
        };
        for source in self.sources.values_mut() {
            source.reported = source.covered;
            match &source.key {
                SourceKey::Journal { .. } if source.is_retired => {}
                SourceKey::Journal { unit, since } => {
                    let (unit, since) = (unit.clone(), *since);
                    saved.journal = Some(source.save_journal(unit, since));
                }
                SourceKey::Output(name) => drop(saved.outputs.insert(name.clone(), source.reported.offset)),
                SourceKey::File { path, identity } => {
                    let seen = source.missing_since.filter(|_| !source.is_present);
                    let seen = seen.unwrap_or(now - now.rem_euclid(SEEN_STEP_MS));
                    let (path, identity, Point { offset, check }) = (path.clone(), *identity, source.reported);
                    let is_ended = source.is_ended;
                    saved.files.push(SavedFile { path, identity, offset, check, seen, is_ended });
                }
            }
        }
        saved
    }

    /// The last report cannot be lost any more.
    pub(crate) fn commit_report(&mut self) {
        for source in self.sources.values_mut() {
            source.committed = source.reported.offset;
        }
    }

    /// Up to where a source is not needed any more.
    pub(crate) fn committed(&self, id: SourceId) -> u64 {
        self.sources.get(&id).map_or(0, |source| source.committed)
    }
}

#[cfg(test)]
#[path = "read_offsets_tests.rs"]
mod tests;
