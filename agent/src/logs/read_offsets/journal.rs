//! How far the journal of a systemd unit has come. Its lines have no offsets of their own: they are numbered as they
//! are read, and each number has the cursor that journalctl continues from.

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::{Offset, ReadOffsets, Source, SourceId, SourceKey};
use crate::logs::check::{Check, Point};

/// How far the journal of a unit was reported.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct SavedJournal {
    pub(super) unit: String,
    /// Its lines count from here on.
    pub(super) since: UnixMillis,
    /// The last line in a report; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
}

/// How far the journal of a unit was read.
#[derive(Clone, Debug)]
pub(crate) struct JournalPlace {
    source: SourceId,
    /// Lines before this time are not read.
    pub(crate) since: UnixMillis,
    /// The last line that was read; none before the first.
    pub(crate) cursor: Option<String>,
    /// Its number in this run of the agent.
    number: u64,
}

impl JournalPlace {
    /// The end of the line with this number.
    pub(crate) fn offset(&self, number: u64) -> Offset {
        Offset { source: self.source, end: number, check: Check::default() }
    }
}

impl Source {
    /// What is to be kept of a journal with the last report.
    pub(super) fn save_journal(&mut self, unit: String, since: UnixMillis) -> SavedJournal {
        let reported = self.reported.offset;
        while let Some((_, cursor)) = self.cursors.pop_front_if(|(number, _)| *number <= reported) {
            self.cursor = Some(cursor);
        }
        SavedJournal { unit, since, cursor: self.cursor.clone() }
    }
}

impl ReadOffsets {
    /// Continues from what an earlier run of the agent kept.
    pub(super) fn restore_journal(&mut self, saved: SavedJournal, now: UnixMillis) {
        let SavedJournal { unit, since, cursor } = saved;
        let id = self.add(SourceKey::Journal { unit, since }, Point::at(0), Some(now));
        if let Some(source) = self.sources.get_mut(&id) {
            source.cursor = cursor;
        }
    }

    /// Continues the journal of a unit, or begins with what it gets from `now` on. The journal of another unit
    /// is forgotten.
    pub(crate) fn open_journal(&mut self, name: &str, now: UnixMillis) -> JournalPlace {
        let mut found = None;
        for (id, source) in self.sources.iter_mut().filter(|(_, source)| !source.is_retired) {
            match &source.key {
                SourceKey::Journal { unit, since } if unit == name => found = Some((*id, *since)),
                SourceKey::Journal { .. } => source.is_retired = true,
                SourceKey::Output(_) | SourceKey::File { .. } => {}
            }
        }
        let (id, since) =
            found.unwrap_or_else(|| (self.open(SourceKey::Journal { unit: name.to_owned(), since: now }, 0), now));
        let source = self.sources.get_mut(&id);
        let (cursor, number) = source.map_or((None, 0), |source| {
            source.missing_since = None;
            let last = source.cursors.back();
            let cursor = last.map(|(_, cursor)| cursor.clone()).or_else(|| source.cursor.clone());
            (cursor, last.map_or(source.taken.offset, |(number, _)| *number))
        });
        JournalPlace { source: id, since, cursor, number }
    }

    /// A line of a journal was read; returns its number.
    pub(crate) fn note_cursor(&mut self, place: &mut JournalPlace, cursor: String) -> u64 {
        place.number += 1;
        if let Some(source) = self.sources.get_mut(&place.source) {
            source.cursors.push_back((place.number, cursor.clone()));
        }
        place.cursor = Some(cursor);
        place.number
    }
}
