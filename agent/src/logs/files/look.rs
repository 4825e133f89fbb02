//! Finds the files of the patterns, and selects those to follow.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use systole_shared::UnixMillis;
use tokio::time::Instant;

use super::claim::{self, Likeness, SURE_COPY_BYTES};
use super::followed::{LogFile, last_line_begin};
use super::{Copy, LogFiles, MAX_FILES};
use crate::logs::budget::LogBuffer;
use crate::logs::identity::Identity;
use crate::logs::lock;
use crate::logs::read_offsets::{MAX_REMEMBERED, Remembered, SourceKey};
use crate::logs::tail::{Round, zeros};
use crate::logs::walk::open::open_file;
use crate::logs::walk::own::OwnInodes;
use crate::logs::walk::{self, Entry, FileState, Inode, Troubles};
use crate::model::log_files::Links;
use crate::model::pattern::Pattern;
use crate::model::pipeline::LogFilesConfig;

/// A directory whose time stands still is read again after this: some network file systems do not change
/// it when a file comes.
const RELIST_AFTER: Duration = Duration::from_secs(30);

/// A directory that has changed within this time may change again without another time.
const STAMP_STEP: Duration = Duration::from_secs(2);

/// How long a short copy waits for its original to be truncated. After that it is taken for a file that
/// only begins like the other one.
const SHORT_COPY_WAITS: Duration = Duration::from_secs(60);

/// The names that a pattern had, and the state of the one directory that they are in.
#[derive(Debug)]
pub(super) struct Listing {
    stamp: DirectoryStamp,
    at: Instant,
    paths: Vec<PathBuf>,
}

/// Inode and time of a directory; they change with every name in it.
type DirectoryStamp = (u64, i64, i64);

/// A file that a pattern found.
#[derive(Debug)]
struct Candidate<'c> {
    entry: Entry,
    pattern: &'c Pattern,
    /// The pattern was never searched before.
    is_first_sight: bool,
    /// As it was when it had nothing new, if it was seen before.
    known: Option<FileState>,
}

/// The parts that all files of one check have in common.
pub(super) struct Look<'l> {
    config: &'l LogFilesConfig,
    pub(super) logs: &'l Mutex<LogBuffer>,
    at: UnixMillis,
    pub(super) now: Instant,
    own: Option<OwnInodes>,
    troubles: Troubles,
}

impl Look<'_> {
    fn trouble(&mut self, what: String, trouble: impl Into<String>) {
        self.troubles.entry(what).and_modify(|known| known.push_str("; ")).or_default().push_str(&trouble.into());
    }

    pub(super) fn is_own(&mut self, path: &Path, metadata: &Metadata) -> bool {
        self.own.get_or_insert_with(|| self.config.own.look()).contains(path, metadata)
    }

    pub(super) fn remembered(&self) -> Vec<Remembered> {
        lock(self.logs).offsets.remembered().collect()
    }
}

impl LogFiles {
    /// Checks which files there are now.
    pub(super) fn look(&mut self, config: &LogFilesConfig, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let (at, now) = (round.at, round.now);
        let mut look = Look { config, logs, at, now, own: None, troubles: Troubles::new() };
        for file in &mut self.files {
            // A file that cannot be read is logged when it is polled.
            let _ = file.note_rewritten(logs, round);
            file.is_named = false;
        }
        let found = self.find_all(&mut look);
        let present: HashSet<Inode> = found.iter().map(|candidate| candidate.entry.inode).collect();
        let waiting = self.sort_out(found, &look);
        self.follow_newest(waiting, &mut look);
        for pattern in &config.patterns {
            lock(logs).offsets.learn_pattern(pattern.text());
        }
        if !std::mem::replace(&mut self.has_searched, true) {
            self.search_rotated(&present, &mut look);
        }
        for file in &mut self.files {
            if !file.is_named && file.is_at_its_path(config.links) {
                // No pattern means it any more.
                file.let_go(logs, at, now);
                continue;
            }
            if !file.is_named && !file.is_rotated {
                file.touched = now;
            }
            file.is_rotated = !file.is_named;
        }
        self.files.retain(|file| !file.is_done);
        self.bound_rotated(logs, round);
        let followed: HashSet<Inode> = self.files.iter().map(|file| file.identity.inode()).collect();
        lock(logs)
            .offsets
            .note_present(|identity, _| present.contains(&identity.inode()) && !followed.contains(&identity.inode()));
        self.idle.retain(|inode, _| present.contains(inode));
        self.copies.retain(|inode, _| present.contains(inode));
        self.report(&look.troubles);
    }

    /// The files of all patterns, each once.
    fn find_all<'c>(&mut self, look: &mut Look<'c>) -> Vec<Candidate<'c>> {
        let forbidden = look.config.own.data_dir_inode();
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for pattern in &look.config.patterns {
            let is_first_sight = !lock(look.logs).offsets.knows_pattern(pattern.text());
            let found = self.expand(pattern, look.config.links, forbidden, look.now);
            for (what, trouble) in found.troubles {
                look.trouble(what, trouble);
            }
            for entry in found.files {
                if seen.insert(entry.inode) {
                    let known = self.idle.get(&entry.inode).copied();
                    all.push(Candidate { entry, pattern, is_first_sight, known });
                }
            }
        }
        all
    }

    /// The files of a pattern. A directory is read again when it has changed, and now and then.
    fn expand(&mut self, pattern: &Pattern, links: Links, forbidden: Option<Inode>, now: Instant) -> walk::Found {
        let stamp = pattern.only_dir().and_then(directory_stamp);
        if let Some(listing) = self.listings.get(pattern.text())
            && Some(listing.stamp) == stamp
            && now < listing.at + RELIST_AFTER
        {
            return walk::find_again(pattern, links, &listing.paths);
        }
        let found = walk::find(pattern, links, forbidden);
        self.listings.remove(pattern.text());
        // What was in trouble is checked again.
        if let Some(stamp) = stamp.filter(|_| found.troubles.is_empty()) {
            let paths = found.files.iter().map(|file| file.path.clone()).collect();
            self.listings.insert(pattern.text().to_owned(), Listing { stamp, at: now, paths });
        }
        found
    }

    /// Marks those that are followed; returns those that have something new, the newest first.
    fn sort_out<'c>(&mut self, found: Vec<Candidate<'c>>, look: &Look<'_>) -> Vec<Candidate<'c>> {
        let by_inode: HashMap<Inode, usize> =
            self.files.iter().enumerate().map(|(index, file)| (file.identity.inode(), index)).collect();
        let mut waiting = Vec::new();
        for candidate in found {
            let Entry { inode, state, path } = &candidate.entry;
            if let Some(index) = by_inode.get(inode) {
                let file = &mut self.files[*index];
                file.is_named = true;
                file.rename(path.clone(), look.logs);
            } else if candidate.known != Some(*state) && !self.is_waiting_copy(*inode, *state, look.now) {
                waiting.push(candidate);
            }
        }
        waiting.sort_by_key(|candidate| std::cmp::Reverse(candidate.entry.state.written));
        waiting
    }

    fn is_waiting_copy(&self, inode: Inode, state: FileState, now: Instant) -> bool {
        self.copies.get(&inode).is_some_and(|copy| {
            let is_standing = self.files.iter().any(|file| file.source() == copy.original);
            is_standing && copy.state == state && copy.read_at.is_none_or(|at| now < at)
        })
    }

    /// Follows the newest of those that have something new, as far as there are places.
    fn follow_newest(&mut self, mut waiting: Vec<Candidate<'_>>, look: &mut Look<'_>) {
        let named = self.files.iter().filter(|file| file.is_named).count();
        let mut places = MAX_FILES.saturating_sub(named);
        if let Some(needed) = waiting.len().checked_sub(places).filter(|needed| *needed > 0) {
            places += self.free_places(needed, look);
        }
        let rest = waiting.split_off(places.min(waiting.len()));
        // A file that is known comes before one that may be a copy of it.
        let remembered = look.remembered();
        let known: HashSet<Inode> = remembered.iter().map(|known| known.identity.inode()).collect();
        waiting.sort_by_key(|candidate| !known.contains(&candidate.entry.inode));
        for candidate in waiting {
            self.try_follow(&candidate, look);
        }
        self.leave_out(rest, look);
    }

    /// Lets go of idle files, the oldest first. Returns of how many.
    fn free_places(&mut self, needed: usize, look: &Look<'_>) -> usize {
        let mut idle: Vec<&mut LogFile> = self.files.iter_mut().filter(|file| file.is_idle(look.now)).collect();
        idle.sort_by_key(|file| file.state().written);
        let mut freed = 0;
        for file in idle.into_iter().take(needed) {
            self.idle.insert(file.identity.inode(), file.state());
            file.let_go(look.logs, look.at, look.now);
            freed += 1;
        }
        self.files.retain(|file| !file.is_done);
        freed
    }

    /// Files for which there is no place. Those that have nothing new need none.
    fn leave_out(&mut self, rest: Vec<Candidate<'_>>, look: &mut Look<'_>) {
        let (forgotten, remembered) = {
            let offsets = &lock(look.logs).offsets;
            let remembered: HashMap<Inode, u64> = offsets
                .remembered()
                .filter(|known| !known.is_ended)
                .map(|known| (known.identity.inode(), known.taken.offset))
                .collect();
            (offsets.forgotten_until(), remembered)
        };
        let (mut room, mut waiting) = (MAX_REMEMBERED.saturating_sub(remembered.len()), 0);
        for candidate in rest {
            let Entry { inode, state, .. } = candidate.entry;
            let is_read = remembered.get(&inode).is_some_and(|offset| *offset == state.length);
            let is_forgotten =
                !remembered.contains_key(&inode) && forgotten.is_some_and(|until| written_ms(&state) <= until);
            if candidate.is_first_sight && !remembered.contains_key(&inode) {
                if room > 0 {
                    room -= 1;
                    self.try_follow(&candidate, look);
                    if let Some(file) = self.files.last_mut().filter(|file| file.identity.inode() == inode) {
                        file.let_go(look.logs, look.at, look.now);
                        self.files.retain(|file| !file.is_done);
                    }
                } else {
                    lock(look.logs).offsets.forget_until(written_ms(&state));
                }
                self.idle.insert(inode, state);
            } else if is_read || (is_forgotten && candidate.known.is_none()) {
                self.idle.insert(inode, state);
            } else {
                waiting += 1;
            }
        }
        if waiting > 0 {
            let patterns: Vec<&str> = look.config.patterns.iter().map(Pattern::text).collect();
            let text = format!("more than {MAX_FILES} files are written to; {waiting} wait until others are idle");
            look.trouble(patterns.join(", "), text);
        }
    }

    fn try_follow(&mut self, candidate: &Candidate<'_>, look: &mut Look<'_>) {
        if let Err(error) = self.follow(candidate, look) {
            let is_gone = error.kind() == io::ErrorKind::NotFound;
            if !is_gone {
                look.trouble(candidate.entry.path.display().to_string(), error.to_string());
            }
        }
    }

    /// Begins to follow a file, unless it is none, or a copy of one that is followed.
    fn follow(&mut self, candidate: &Candidate<'_>, look: &mut Look<'_>) -> io::Result<()> {
        let Entry { path, inode, state } = &candidate.entry;
        let Some(file) = open_file(candidate.pattern.fixed(), path, look.config.links)? else { return Ok(()) };
        let metadata = file.metadata()?;
        if look.is_own(path, &metadata) {
            return Err(io::Error::other("it is a file of the agent, which is never sent"));
        }
        let identity = Identity::of(&file)?;
        let remembered = look.remembered();
        let place = SourceKey::File { path: path.clone(), identity };
        if let Some(same) = claim::find_same(&remembered, path, &identity, &file) {
            lock(look.logs).offsets.claim_file(same.id, place);
            self.files.push(LogFile::new(path.clone(), identity, file, (same.id, same.taken.offset), look.now));
            return Ok(());
        }
        let length = metadata.len();
        let start = if candidate.is_first_sight {
            last_line_begin(&file, zeros::data_end(&file, 0, length)?)?
        } else if let Some(seen) = seen_until(candidate, length, &remembered, look) {
            last_line_begin(&file, zeros::data_end(&file, 0, seen)?)?
        } else {
            let mut of_copy = None;
            for other in &self.files {
                match claim::likeness(&file, length, other)? {
                    Some(Likeness::Copy) => {
                        let first = self.copies.get(inode).filter(|copy| copy.original == other.source());
                        let short = length < SURE_COPY_BYTES;
                        let read_at =
                            short.then(|| first.and_then(|copy| copy.read_at).unwrap_or(look.now + SHORT_COPY_WAITS));
                        if read_at.is_some_and(|at| look.now >= at) {
                            continue;
                        }
                        let copy = Copy { state: *state, original: other.source(), read_at };
                        self.copies.insert(*inode, copy);
                        return Ok(());
                    }
                    Some(Likeness::Continued) => of_copy = Some(last_line_begin(&file, other.offset())?),
                    None => {}
                }
            }
            let original = || claim::find_original(&remembered, &file).map(|original| original.taken);
            of_copy.or_else(original).unwrap_or_default()
        };
        self.copies.remove(inode);
        // From here on nothing is asked of the disk: the heartbeat waits for this lock.
        let mut logs = lock(look.logs);
        // The file that had this place is gone, or was rewritten.
        for stale in remembered.iter().filter(|known| known.identity.inode() == *inode && !known.is_ended) {
            if stale.taken.check.is_none() {
                logs.offsets.retire(stale.id);
            } else {
                logs.offsets.end_content(stale.id, look.at);
            }
        }
        let source = logs.offsets.open_at(place, start);
        drop(logs);
        self.files.push(LogFile::new(path.clone(), identity, file, (source, start.offset), look.now));
        Ok(())
    }
}

/// How long a file was when it was seen last, if nothing else is known of it.
fn seen_until(candidate: &Candidate<'_>, length: u64, remembered: &[Remembered], look: &Look<'_>) -> Option<u64> {
    let Entry { inode, state, .. } = candidate.entry;
    if remembered.iter().any(|known| known.identity.inode() == inode && !known.is_ended) {
        return None;
    }
    let forgotten = lock(look.logs).offsets.forgotten_until();
    match candidate.known {
        Some(known) => Some(known.length).filter(|seen| *seen <= length),
        None => forgotten.is_some_and(|until| written_ms(&state) <= until).then_some(length),
    }
}

fn written_ms(state: &FileState) -> UnixMillis {
    state.written.0.saturating_mul(1_000).saturating_add(state.written.1 / 1_000_000)
}

/// The state of a directory; none if it has changed so recently that a further change could be missed.
fn directory_stamp(dir: &Path) -> Option<DirectoryStamp> {
    let metadata = dir.metadata().ok()?;
    let age = metadata.modified().ok()?.elapsed().ok()?;
    (age >= STAMP_STEP).then_some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}
