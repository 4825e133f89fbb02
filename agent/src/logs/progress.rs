//! How far the lines of each source have come: into a report, and into the spool.
//!
//! A line that was read waits for a report, and a report waits for the spool; an agent that is killed
//! in between must read it again. So what is kept over restarts is not how far a source was read,
//! but behind which of its lines nothing is missing in the reports.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::identity::Identity;

/// How long the place in a file that cannot be found is kept: its mount may come back.
const MISSING_FOR_MS: i64 = 7 * 24 * 3_600_000;

/// The time of a sighting is kept this exactly, so that an idle agent has nothing to write.
const SEEN_STEP_MS: i64 = 3_600_000;

/// Files that may be missed at a time; the ones not seen for longest are forgotten.
const MAX_MISSING: usize = 200;

/// One source of lines, within its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceId(u64);

/// The end of a line in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) source: SourceId,
    pub(crate) end: u64,
}

/// What is kept of a pipeline's lines over restarts of the agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct SavedLogs {
    /// The process's output: names of files, and behind which byte lines are missing in the reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, u64>,
    /// Log files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<SavedFile>,
    /// The patterns whose files were looked for at least once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    patterns: BTreeSet<String>,
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
    path: String,
    #[serde(flatten)]
    identity: Identity,
    offset: u64,
    seen: UnixMillis,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of the process's output, by its name.
    Output(String),
    /// A log file.
    File { path: String, identity: Identity },
}

/// How far one source has come.
#[derive(Debug)]
struct Source {
    place: Place,
    /// Lines that wait for a report.
    waiting: usize,
    /// Behind the last line that was taken.
    taken: u64,
    /// Behind the last line that was put into a report, or dropped and counted.
    covered: u64,
    /// The same as of the last report.
    reported: u64,
    /// The same as of the last report that cannot be lost any more.
    committed: u64,
    /// When it was last seen; none while it is followed.
    missing_since: Option<UnixMillis>,
    /// Nothing more will come of it.
    is_retired: bool,
}

/// All sources of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sources: BTreeMap<SourceId, Source>,
    patterns: BTreeSet<String>,
    last_id: u64,
}

impl Progress {
    /// A new source that is read from `offset` on.
    pub(crate) fn open(&mut self, place: Place, offset: u64) -> SourceId {
        self.add(place, offset, None)
    }

    fn add(&mut self, place: Place, offset: u64, missing_since: Option<UnixMillis>) -> SourceId {
        self.last_id += 1;
        let id = SourceId(self.last_id);
        let source = Source {
            place,
            waiting: 0,
            taken: offset,
            covered: offset,
            reported: offset,
            committed: offset,
            missing_since,
            is_retired: false,
        };
        self.sources.insert(id, source);
        id
    }

    /// Goes on from what an earlier life of the agent kept.
    pub(crate) fn restore(&mut self, saved: SavedLogs, now: UnixMillis) {
        for (name, offset) in saved.outputs {
            self.add(Place::Output(name), offset, Some(now));
        }
        let mut files = saved.files;
        files.retain(|file| file.seen > now - MISSING_FOR_MS);
        files.sort_by_key(|file| std::cmp::Reverse(file.seen));
        for SavedFile { path, identity, offset, seen } in files.into_iter().take(MAX_MISSING) {
            self.add(Place::File { path, identity }, offset, Some(seen.min(now)));
        }
        self.patterns = saved.patterns;
    }

    /// Follows on a source of an earlier life; returns where it is to be read on.
    pub(crate) fn claim(&mut self, is_it: impl Fn(&Place) -> bool) -> Option<(SourceId, u64)> {
        let missing = |source: &Source| source.missing_since.is_some() && is_it(&source.place);
        let (id, source) =
            self.sources.iter_mut().find(|(_, source)| missing(source)).map(|(id, source)| (*id, source))?;
        source.missing_since = None;
        Some((id, source.taken))
    }

    /// The log files of an earlier life that were not found yet.
    pub(crate) fn missing_files(&self) -> impl Iterator<Item = (&str, &Identity)> {
        self.sources.values().filter(|source| source.missing_since.is_some()).filter_map(|source| match &source.place {
            Place::File { path, identity } => Some((path.as_str(), identity)),
            Place::Output(_) => None,
        })
    }

    /// The output files of an earlier life that were not found are gone.
    pub(crate) fn forget_missing_outputs(&mut self) {
        self.sources.retain(|_, source| source.missing_since.is_none() || !matches!(source.place, Place::Output(_)));
    }

    /// A source goes by another name, or is known better.
    pub(crate) fn place(&mut self, id: SourceId, place: Place) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.place = place;
        }
    }

    /// A source is not followed any more, but its place is remembered.
    pub(crate) fn lose(&mut self, id: SourceId, now: UnixMillis) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.missing_since = Some(now);
        }
    }

    /// Nothing more will come of a source; it is kept until its last line is in a report.
    pub(crate) fn retire(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.is_retired = true;
        }
    }

    /// Whether the files of a pattern were looked for before, now or in an earlier life.
    pub(crate) fn knows_pattern(&self, pattern: &str) -> bool {
        self.patterns.contains(pattern)
    }

    /// The files of a pattern were looked for.
    pub(crate) fn learn_pattern(&mut self, pattern: &str) {
        self.patterns.insert(pattern.to_owned());
    }

    /// A line of a source waits for a report.
    pub(crate) fn wait(&mut self, mark: Mark) {
        if let Some(source) = self.sources.get_mut(&mark.source) {
            source.waiting += 1;
            source.taken = mark.end;
        }
    }

    /// A line does not wait any more: it is in a report, or was dropped and counted.
    pub(crate) fn cover(&mut self, mark: Mark) {
        if let Some(source) = self.sources.get_mut(&mark.source) {
            source.waiting -= 1;
            source.covered = mark.end;
        }
    }

    /// A report was made: what is covered now is so by this report or one before.
    pub(crate) fn close_report(&mut self, now: UnixMillis) -> SavedLogs {
        self.sources.retain(|_, source| !source.is_retired || source.waiting > 0);
        let mut saved = SavedLogs { patterns: self.patterns.clone(), ..SavedLogs::default() };
        for source in self.sources.values_mut() {
            source.reported = source.covered;
            match &source.place {
                Place::Output(name) => drop(saved.outputs.insert(name.clone(), source.reported)),
                Place::File { path, identity } => {
                    let seen = source.missing_since.unwrap_or(now - now.rem_euclid(SEEN_STEP_MS));
                    let (path, identity) = (path.clone(), *identity);
                    saved.files.push(SavedFile { path, identity, offset: source.reported, seen });
                }
            }
        }
        saved
    }

    /// The last report cannot be lost any more.
    pub(crate) fn commit_report(&mut self) {
        for source in self.sources.values_mut() {
            source.committed = source.reported;
        }
    }

    /// Up to where a source is not needed any more.
    pub(crate) fn committed(&self, id: SourceId) -> u64 {
        self.sources.get(&id).map_or(0, |source| source.committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_790_000_000_000;

    fn output(name: &str) -> Place {
        Place::Output(name.to_owned())
    }

    fn file(ino: u64) -> Place {
        Place::File { path: format!("/{ino}"), identity: Identity::for_tests(ino) }
    }

    fn restored(saved: &SavedLogs, now: UnixMillis) -> Progress {
        let mut progress = Progress::default();
        progress.restore(serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap(), now);
        progress
    }

    #[test]
    fn a_line_that_waits_is_not_covered_and_one_that_was_reported_is() {
        let mut progress = Progress::default();
        let source = progress.open(output("a"), 100);
        let (first, second) = (Mark { source, end: 110 }, Mark { source, end: 120 });
        progress.wait(first);
        progress.wait(second);
        progress.cover(first);
        let saved = progress.close_report(NOW);
        progress.cover(second);
        assert_eq!(progress.committed(source), 100);
        progress.commit_report();
        assert_eq!(progress.committed(source), 110, "the second line came behind the report");
        assert_eq!(restored(&saved, NOW).claim(|place| *place == output("a")).unwrap().1, 110);
    }

    #[test]
    fn a_source_is_followed_on_once_and_missing_till_then() {
        let mut progress = Progress::default();
        progress.open(file(1), 10);
        progress.open(file(2), 20);
        progress.learn_pattern("/*");
        let mut next = restored(&progress.close_report(NOW), NOW + 1);
        assert!(next.knows_pattern("/*") && !next.knows_pattern("/?"));
        assert_eq!(next.claim(|place| *place == file(2)).unwrap().1, 20);
        assert_eq!(next.claim(|place| *place == file(2)), None);
        assert_eq!(next.missing_files().map(|(path, _)| path).collect::<Vec<_>>(), ["/1"]);
        let after = NOW + MISSING_FOR_MS;
        let late = restored(&next.close_report(after), after);
        assert_eq!(late.missing_files().map(|(path, _)| path).collect::<Vec<_>>(), ["/2"], "the other was not seen");
    }

    #[test]
    fn a_retired_source_stays_until_its_last_line_is_in_a_report() {
        let mut progress = Progress::default();
        let source = progress.open(output("a"), 0);
        progress.wait(Mark { source, end: 5 });
        progress.retire(source);
        assert!(!progress.close_report(NOW).is_empty());
        progress.cover(Mark { source, end: 5 });
        assert!(progress.close_report(NOW).is_empty());
    }
}
