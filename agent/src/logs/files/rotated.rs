//! Files that were renamed to names that no pattern has: they are read to their end.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::followed::{LogFile, inode_of};
use super::look::Look;
use super::{LogFiles, claim};
use crate::logs::budget::LogBuffer;
use crate::logs::identity::Identity;
use crate::logs::lock;
use crate::logs::read_offsets::{Remembered, SourceKey};
use crate::logs::tail::Round;
use crate::logs::walk::open::open_file;
use crate::logs::walk::{self, Inode};
use crate::model::log_files::Links;

/// Files that were rotated away and are still read.
pub(super) const MAX_ROTATED: usize = 20;

impl LogFiles {
    /// Looks for files that were renamed while the agent was away, to names that no pattern has: they
    /// lie where they lay.
    pub(super) fn search_rotated(&mut self, present: &HashSet<Inode>, look: &mut Look<'_>) {
        let mut missing: HashMap<PathBuf, Vec<Remembered>> = HashMap::new();
        for known in look.remembered() {
            let is_there = present.contains(&known.identity.inode());
            if let Some(dir) = known.path.parent().filter(|_| !is_there) {
                missing.entry(dir.to_owned()).or_default().push(known);
            }
        }
        for (dir, missing) in missing {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.filter_map(Result::ok).take(walk::MAX_ENTRIES) {
                if missing.iter().any(|known| known.identity.inode().ino == entry.ino()) {
                    // What cannot be read is given up: no pattern means it.
                    let _ = self.follow_rotated(&dir, &entry.path(), &missing, look);
                }
            }
        }
    }

    fn follow_rotated(
        &mut self,
        dir: &Path,
        path: &Path,
        missing: &[Remembered],
        look: &mut Look<'_>,
    ) -> io::Result<()> {
        let Some(file) = open_file(dir, path, Links::Refused)? else { return Ok(()) };
        if look.is_own(path, &file.metadata()?) || self.files.iter().any(|known| is_same(known, &file)) {
            return Ok(());
        }
        let identity = Identity::of(&file)?;
        let Some(same) = claim::find_same(missing, path, &identity, &file) else { return Ok(()) };
        if same.identity.inode().ino != identity.inode().ino {
            return Ok(());
        }
        // The name that patterns had for it stays.
        lock(look.logs).offsets.claim_file(same.id, SourceKey::File { path: same.path.clone(), identity });
        let offset = same.taken.offset;
        let mut file = LogFile::new(same.path.clone(), identity, file, (same.id, offset), look.now);
        file.is_named = false;
        self.files.push(file);
        Ok(())
    }

    /// Gives up the oldest of too many rotated files; their lines are counted as dropped.
    pub(super) fn bound_rotated(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let rotated = self.files.iter_mut().filter(|file| file.is_rotated);
        let mut rotated: Vec<&mut LogFile> = rotated.collect();
        let Some(too_many) = rotated.len().checked_sub(MAX_ROTATED).filter(|too_many| *too_many > 0) else { return };
        rotated.sort_by_cached_key(|file| file.age_rank());
        for file in rotated.into_iter().take(too_many) {
            file.give_up(logs, round);
        }
    }
}

fn is_same(known: &LogFile, file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| inode_of(&metadata) == known.identity.inode())
}
