//! Log files of a pipeline: found by patterns, followed over rotations, found again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use glob::MatchOptions;
use nix::fcntl::OFlag;
use systole_shared::{LogStream, UnixMillis};
use tokio::time::Instant;

use super::budget::LogBuffer;
use super::identity::Identity;
use super::lock;
use super::progress::{Place, SourceId};
use super::tail::{Reached, Round, Tail};

/// How often patterns are looked up.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A look-up that takes long (a deep tree, a slow disk) is done less often: a fiftieth of the time.
const LOOK_SHARE: u32 = 50;

/// Files of one pipeline that are followed by their names; those beyond are told once and left out.
const MAX_FILES: usize = 100;

/// Files that were rotated away and are still read.
const MAX_ROTATED: usize = 20;

/// How long a file that was rotated away is read on after its last line: programs open the new one
/// late.
const ROTATED_QUIET: Duration = Duration::from_secs(60);

/// The same for a file that was deleted: while it is open, its space is not free.
const DELETED_QUIET: Duration = Duration::from_secs(5);

/// How far back from a file's end the last line's beginning is looked for.
const MAX_LOOK_BACK: u64 = 64 * 1024;

/// What a round came to.
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
    /// Paths and patterns whose trouble was told; told again after it was over.
    told: BTreeSet<String>,
    /// Rotated files of earlier lives of the agent were looked for.
    has_searched: bool,
    /// The paths of each pattern, and the state of the directory that they were found in.
    expanded: BTreeMap<String, (Option<DirectoryStamp>, Vec<PathBuf>)>,
}

/// Inode and times of a directory; they change with every name in it.
type DirectoryStamp = (u64, i64, i64);

/// One file.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    identity: Identity,
    tail: Tail,
    /// No name that is looked for leads to it any more.
    is_rotated: bool,
    /// When it had something new last.
    touched: Instant,
    /// When it was written to last, by its own clock.
    written: (i64, i64),
    is_done: bool,
    is_trouble_told: bool,
}

/// What is at a path.
enum Found {
    /// The file with this index.
    Known(usize),
    /// A file that is not followed yet.
    New,
    /// Something else.
    NoFile,
}

impl LogFiles {
    /// Reads on.
    pub(super) fn poll(&mut self, patterns: &[String], logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> Polled {
        if self.next_look.is_none_or(|due| round.now >= due) {
            self.look(patterns, logs, round);
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
                        tracing::warn!(path = %file.path.display(), %error, "a log file cannot be read; it is tried again and again");
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

    /// Looks which files there are now.
    fn look(&mut self, patterns: &[String], logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let now = round.now;
        let mut is_named = vec![false; self.files.len()];
        let mut troubles = BTreeMap::new();
        let mut left_out = 0;
        for pattern in patterns {
            let is_first_sight = !lock(logs).progress.knows_pattern(pattern);
            for path in self.expand(pattern, &mut troubles) {
                match self.find(&path) {
                    Ok(Found::Known(known)) => is_named[known] = true,
                    Ok(Found::NoFile) => {}
                    Ok(Found::New) if is_named.iter().filter(|named| **named).count() >= MAX_FILES => left_out += 1,
                    Ok(Found::New) => match self.follow(&path, is_first_sight, logs, now) {
                        Ok(true) => is_named.push(true),
                        Ok(false) => {}
                        Err(error) => drop(troubles.insert(path.display().to_string(), error.to_string())),
                    },
                    Err(error) => drop(troubles.insert(path.display().to_string(), error.to_string())),
                }
            }
            lock(logs).progress.learn_pattern(pattern);
        }
        if left_out > 0 {
            troubles.insert(patterns.join(", "), format!("more than {MAX_FILES} files; {left_out} are left out"));
        }
        self.tell(&troubles);
        if !std::mem::replace(&mut self.has_searched, true) {
            self.search_rotated(logs, now);
            is_named.resize(self.files.len(), false);
        }
        for (file, is_named) in self.files.iter_mut().zip(is_named) {
            if !is_named && file.is_at_its_path() {
                // No pattern means it any more.
                file.let_go(logs, round.at, now);
                continue;
            }
            if !is_named && !file.is_rotated {
                file.touched = now;
            }
            file.is_rotated = !is_named;
        }
        self.files.retain(|file| !file.is_done);
        self.bound_rotated(logs, round);
    }

    /// The paths of a pattern. A directory is read again only when it has changed.
    fn expand(&mut self, pattern: &str, troubles: &mut BTreeMap<String, String>) -> Vec<PathBuf> {
        let stamp = directory_stamp(pattern);
        if let Some((known, paths)) = self.expanded.get(pattern)
            && stamp.is_some()
            && *known == stamp
        {
            return paths.clone();
        }
        let mut new_troubles = BTreeMap::new();
        let paths = expand(pattern, &mut new_troubles);
        // What was in trouble is looked at again.
        let stamp = stamp.filter(|_| new_troubles.is_empty());
        troubles.append(&mut new_troubles);
        self.expanded.insert(pattern.to_owned(), (stamp, paths.clone()));
        paths
    }

    /// Tells what is new of the troubles.
    fn tell(&mut self, troubles: &BTreeMap<String, String>) {
        self.told.retain(|told| troubles.contains_key(told));
        for (what, trouble) in troubles {
            if self.told.insert(what.clone()) {
                tracing::warn!(
                    log_files = what,
                    trouble,
                    "log files cannot be followed; they are tried again and again"
                );
            }
        }
    }

    /// What is at a path. A file that is followed already goes by this name from here on.
    fn find(&mut self, path: &Path) -> io::Result<Found> {
        let metadata = path.metadata()?;
        if !metadata.is_file() {
            return Ok(Found::NoFile);
        }
        let Some(known) = self.files.iter().position(|file| file.identity.is_at(&metadata)) else {
            return Ok(Found::New);
        };
        path.clone_into(&mut self.files[known].path);
        Ok(Found::Known(known))
    }

    /// Begins to follow a file; false if it is none.
    fn follow(&mut self, path: &Path, is_first_sight: bool, logs: &Mutex<LogBuffer>, now: Instant) -> io::Result<bool> {
        let Some(file) = open(path)? else { return Ok(false) };
        let identity = Identity::of(&file)?;
        let length = file.metadata()?.len();
        let new_offset = if is_first_sight { last_line_begin(&file, length)? } else { 0 };
        let missing: Vec<Identity> = lock(logs).progress.missing_files().map(|(_, identity)| *identity).collect();
        let same = missing.into_iter().find(|missing| missing.is_of(&file).unwrap_or(false));
        // From here on nothing is asked of the disk: the heartbeat waits for this lock.
        let mut logs = lock(logs);
        let place = Place::File { path: path.to_string_lossy().into_owned(), identity };
        let is_same = |of: &Place| matches!(of, Place::File { identity, .. } if Some(*identity) == same);
        let (source, offset) = match logs.progress.claim(is_same) {
            Some((source, offset)) if offset <= length => {
                logs.progress.place(source, place);
                (source, offset)
            }
            Some((truncated, _)) => {
                logs.progress.retire(truncated);
                (logs.progress.open(place, 0), 0)
            }
            None => (logs.progress.open(place, new_offset), new_offset),
        };
        let tail = Tail::new(file, source, LogStream::File, offset);
        let path = path.to_owned();
        self.files.push(LogFile {
            path,
            identity,
            tail,
            is_rotated: false,
            touched: now,
            written: (0, 0),
            is_done: false,
            is_trouble_told: false,
        });
        Ok(true)
    }

    /// Looks for files that were renamed while the agent was away, to names that no pattern has: they
    /// lie where they lay.
    fn search_rotated(&mut self, logs: &Mutex<LogBuffer>, now: Instant) {
        let missing: Vec<(PathBuf, Identity)> =
            lock(logs).progress.missing_files().map(|(path, identity)| (path.into(), *identity)).collect();
        for (path, identity) in missing {
            let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { continue };
            let of_inode = entries.filter_map(Result::ok).find(|entry| entry.ino() == identity.ino());
            if let Some(entry) = of_inode
                && let Ok(Some(file)) = open(&entry.path())
                && identity.is_of(&file).unwrap_or(false)
            {
                drop(file);
                if let Ok(true) = self.follow(&entry.path(), false, logs, now)
                    && let Some(file) = self.files.last_mut()
                {
                    // The name that patterns had for it.
                    file.path = path;
                }
            }
        }
    }

    /// Gives up the oldest of too many rotated files; their lines are counted as dropped.
    fn bound_rotated(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let rotated = self.files.iter_mut().filter(|file| file.is_rotated);
        let mut rotated: Vec<&mut LogFile> = rotated.collect();
        let Some(too_many) = rotated.len().checked_sub(MAX_ROTATED).filter(|too_many| *too_many > 0) else { return };
        rotated.sort_by_cached_key(|file| file.age_rank());
        for file in rotated.into_iter().take(too_many) {
            file.give_up(logs, round);
        }
    }
}

impl LogFile {
    fn poll(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> io::Result<Reached> {
        let metadata = self.tail.file().metadata()?;
        // Also when it is as long as before: it may have been truncated and written anew.
        let written = (metadata.mtime(), metadata.mtime_nsec());
        let is_new = metadata.len() != self.tail.offset() || written != self.written;
        self.written = written;
        if is_new {
            self.touched = round.now;
            // Truncated, and written beyond where it was read to already.
            if metadata.len() < self.tail.offset() || !self.identity.has_head_of(self.tail.file())? {
                self.begin_anew(logs)?;
            }
        }
        let reached = self.tail.read(metadata.len(), logs, round)?;
        if is_new {
            if self.identity.is_partial(metadata.len()) {
                self.learn_identity(logs)?;
            }
            self.tail.take_skipped_range();
        }
        if self.is_rotated && reached == Reached::End && self.is_quiet(&metadata, round.now) {
            self.tail.finish(logs, round);
            self.leave(logs);
        }
        Ok(reached)
    }

    /// The older, the less: by its last writing, and of files written in the same moment by which was
    /// followed first.
    fn age_rank(&self) -> (Option<(i64, i64)>, SourceId) {
        let metadata = self.tail.file().metadata().ok();
        (metadata.map(|metadata| (metadata.mtime(), metadata.mtime_nsec())), self.tail.source())
    }

    fn is_at_its_path(&self) -> bool {
        self.path.metadata().is_ok_and(|metadata| self.identity.is_at(&metadata))
    }

    /// Nothing more is read of it for now.
    fn let_go(&mut self, logs: &Mutex<LogBuffer>, at: UnixMillis, now: Instant) {
        self.tail.flush(logs, now);
        lock(logs).progress.lose(self.tail.source(), at);
        self.is_done = true;
    }

    /// Lets go of it before it was read to its end.
    fn give_up(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let size = self.tail.file().metadata().map(|metadata| metadata.len());
        if let Err(error) = size.and_then(|size| self.tail.pass_over_rest(size, logs, round)) {
            tracing::debug!(path = %self.path.display(), %error, "the lines of a rotated file cannot be counted");
        }
        self.leave(logs);
    }

    /// Nothing more is read of it. It must not be kept as a source: there may be another one soon.
    fn leave(&mut self, logs: &Mutex<LogBuffer>) {
        let mut logs = lock(logs);
        logs.has_dropped(self.tail.take_skipped());
        logs.progress.retire(self.tail.source());
        self.is_done = true;
    }

    fn is_quiet(&self, metadata: &Metadata, now: Instant) -> bool {
        let limit = if metadata.nlink() == 0 { DELETED_QUIET } else { ROTATED_QUIET };
        now.duration_since(self.touched) >= limit
    }

    fn place(&self) -> Place {
        Place::File { path: self.path.to_string_lossy().into_owned(), identity: self.identity }
    }

    fn begin_anew(&mut self, logs: &Mutex<LogBuffer>) -> io::Result<()> {
        self.identity = Identity::of(self.tail.file())?;
        let mut logs = lock(logs);
        logs.progress.retire(self.tail.source());
        self.tail.begin_anew(logs.progress.open(self.place(), 0));
        Ok(())
    }

    fn learn_identity(&mut self, logs: &Mutex<LogBuffer>) -> io::Result<()> {
        self.identity = Identity::of(self.tail.file())?;
        lock(logs).progress.place(self.tail.source(), self.place());
        Ok(())
    }
}

/// The paths of a pattern, in order. A name without wildcards is a path, whether it is there or not.
fn expand(pattern: &str, troubles: &mut BTreeMap<String, String>) -> Vec<PathBuf> {
    if !is_pattern(pattern) {
        return vec![pattern.into()];
    }
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let found = match glob::glob_with(pattern, options) {
        Ok(found) => found,
        Err(error) => {
            troubles.insert(pattern.to_owned(), error.to_string());
            return Vec::new();
        }
    };
    let mut paths = Vec::new();
    for path in found {
        match path {
            Ok(path) => paths.push(path),
            Err(error) => drop(troubles.insert(error.path().display().to_string(), error.error().to_string())),
        }
    }
    if paths.is_empty() && troubles.is_empty() {
        troubles.insert(pattern.to_owned(), "there is no such file yet".to_owned());
    }
    paths
}

/// The state of the one directory that a pattern's files lie in; none if there may be several, or if
/// it has changed so lately that a further change could look the same.
fn directory_stamp(pattern: &str) -> Option<DirectoryStamp> {
    let dir = Path::new(pattern).parent().filter(|dir| !is_pattern(&dir.to_string_lossy()))?;
    let metadata = dir.metadata().ok()?;
    let age = metadata.modified().ok()?.elapsed().ok()?;
    (age >= LOOK_EVERY).then_some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Opens a file to be read; none if it is something else, such as a pipe, which would not end.
fn open(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Where the line begins that stands at the file's end without an end of its own: at the end, when
/// there is none.
fn last_line_begin(file: &File, length: u64) -> io::Result<u64> {
    let begin = length.saturating_sub(MAX_LOOK_BACK);
    let mut end = vec![0; usize::try_from(length - begin).map_err(io::Error::other)?];
    file.read_exact_at(&mut end, begin)?;
    Ok(match end.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => begin + last as u64 + 1,
        None if begin == 0 => 0,
        None => length,
    })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
