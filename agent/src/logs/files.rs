//! Log files of a pipeline: found by patterns, followed over rotations, found again after a restart.
//!
//! Only so many files are followed at a time, those that were written to last: an idle one gives its
//! place up, and how far it was read is remembered.
//!
//! A file that was renamed out of its pattern while the agent was away is searched in its directory. Lines
//! of a file that is created and rotated away between two rounds (2 s) are not seen. Of more than 20
//! rotated files, the one that was last written longest ago is given up, and its lines count as
//! dropped. A file that keeps its name but no longer has a pattern is closed at once and remembered like one
//! that is missing.
//!
//! The first sight of a pattern is stored with the first report. From then on unknown files are new ones
//! and are read from their beginning.

mod claim;
mod followed;
mod look;
mod rotated;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use systole_shared::UnixMillis;
use tokio::time::Instant;

use self::followed::LogFile;
use super::budget::LogBuffer;
use super::read_offsets::SourceId;
use super::tail::{Reached, Round};
use super::walk::{FileState, Inode, Troubles};
use crate::model::pipeline::LogFilesConfig;

/// How often patterns are searched.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A check-up that takes long (a deep tree, a slow disk) is done less often: a fiftieth of the time.
const LOOK_SHARE: u32 = 50;

/// Files of one pipeline that are followed at a time: each holds a descriptor and is asked for its length
/// four times a second.
const MAX_FILES: usize = 100;

/// The result of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Polled {
    /// There is more to read at once.
    pub(super) has_more: bool,
    /// There is more to read when the budget has room again.
    pub(super) is_out_of_budget: bool,
}

/// The log files of one pipeline.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    files: Vec<LogFile>,
    next_look: Option<Instant>,
    /// Paths and patterns with a fault that is logged; it is logged again after it was fixed.
    reported: BTreeSet<String>,
    /// Rotated files of earlier runs of the agent were searched.
    has_searched: bool,
    /// The names that each pattern had at its last full search.
    listings: BTreeMap<String, look::Listing>,
    /// Files that are not followed, as they were when they had nothing new.
    idle: HashMap<Inode, FileState>,
    /// Copies of files that are followed.
    copies: HashMap<Inode, Copy>,
}

/// A copy has nothing of its own while its original stands.
#[derive(Clone, Copy, Debug)]
struct Copy {
    state: FileState,
    original: SourceId,
    /// When it is read as a file of its own; none if it is long enough to be a copy for sure.
    read_at: Option<Instant>,
}

impl LogFiles {
    /// Reads on.
    pub(super) fn poll(&mut self, config: &LogFilesConfig, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> Polled {
        if self.next_look.is_none_or(|due| round.now >= due) {
            self.look(config, logs, round);
            let took = round.now.elapsed();
            self.next_look = Some(round.now + LOOK_EVERY.max(took * LOOK_SHARE));
        }
        // Rotated ones first, for their lines are older; the others in turn, so that none keeps the
        // others out.
        let rotated = self.files.iter().filter(|file| file.is_rotated).count();
        self.files.sort_by_key(|file| !file.is_rotated);
        if let [_, _, ..] = self.files[rotated..] {
            self.files[rotated..].rotate_left(1);
        }
        let mut polled = Polled::default();
        for file in &mut self.files {
            match file.poll(logs, round) {
                Ok(Reached::Budget) => {
                    polled.is_out_of_budget = true;
                    break;
                }
                Ok(Reached::Slice | Reached::Beginning) => polled.has_more = true,
                Ok(Reached::End) => file.is_trouble_told = false,
                Err(error) => {
                    if file.is_rotated {
                        file.leave(logs);
                    }
                    if !std::mem::replace(&mut file.is_trouble_told, true) {
                        tracing::warn!(path = %file.path.display(), %error, "cannot read a log file; retrying");
                    }
                }
            }
        }
        self.files.retain(|file| !file.is_done);
        polled
    }

    /// Whether any file is open.
    pub(super) fn are_open(&self) -> bool {
        !self.files.is_empty()
    }

    /// Closes all files. How far they were read is remembered: their patterns may come back.
    pub(super) fn let_go(&mut self, logs: &Mutex<LogBuffer>, at: UnixMillis, now: Instant) {
        for mut file in std::mem::take(self).files {
            file.let_go(logs, at, now);
        }
    }

    /// Tells what is new of the troubles.
    fn report(&mut self, troubles: &Troubles) {
        self.reported.retain(|told| troubles.contains_key(told));
        for (what, trouble) in troubles {
            if self.reported.insert(what.clone()) {
                tracing::warn!(log_files = what, trouble, "cannot follow log files; retrying");
            }
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
