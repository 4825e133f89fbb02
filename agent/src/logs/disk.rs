//! Disk space of an output file: released where lines are reported, held ready where some will come.
//!
//! Only Linux can do that to a file that another process writes to; elsewhere a file grows until its
//! process ends.

use std::fs::File;
use std::io;
use std::ops::Range;

/// Space that is held ready after a file's end, so that a process does not meet a full disk before
/// the agent does.
pub(super) const RESERVE_BYTES: u64 = 256 * 1024;

/// Less than this is not worth asking for.
const LEAST_RESERVE_BYTES: u64 = 8 * 1024;

/// File systems' blocks are not larger.
const LARGEST_BLOCK_BYTES: u64 = 64 * 1024;

/// Least that is returned at a time.
const PUNCH_STEP_BYTES: u64 = 256 * 1024;

/// Whether the disk has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It has, or that is not known.
    Enough,
    /// It has none.
    None,
}

/// The space of one file.
#[derive(Debug, Default)]
pub(super) struct Space {
    punched: u64,
    reserved: u64,
    cannot_punch: bool,
    cannot_reserve: bool,
}

impl Space {
    /// Gives back what lies before `end`, if it is worth it.
    pub(super) fn give_back(&mut self, file: &File, end: u64) {
        if end.saturating_sub(self.punched) >= PUNCH_STEP_BYTES {
            self.give_back_all(file, end);
        }
    }

    /// Gives back what lies before `end`, however little it is.
    pub(super) fn give_back_all(&mut self, file: &File, end: u64) {
        if end > self.punched {
            // Only whole blocks are free: the one that the last time ended in is returned with this one.
            self.give_back_range(file, self.punched - self.punched % LARGEST_BLOCK_BYTES..end);
            self.punched = end;
        }
    }

    /// Gives back a part.
    pub(super) fn give_back_range(&mut self, file: &File, range: Range<u64>) {
        if !self.cannot_punch && punch(file, range).is_err() {
            self.cannot_punch = true;
        }
    }

    /// Holds space ready behind `end`; on a disk that is nearly full as much as there is.
    pub(super) fn reserve(&mut self, file: &File, end: u64) -> Room {
        if self.cannot_reserve || self.reserved >= end + RESERVE_BYTES / 2 {
            return Room::Enough;
        }
        let mut bytes = RESERVE_BYTES;
        while bytes >= LEAST_RESERVE_BYTES && self.reserved < end + bytes {
            match reserve(file, end..end + bytes) {
                Ok(()) => self.reserved = end + bytes,
                Err(error) if is_full(&error) => bytes /= 2,
                Err(_) => {
                    self.cannot_reserve = true;
                    return Room::Enough;
                }
            }
        }
        if self.reserved >= end + RESERVE_BYTES / 2 { Room::Enough } else { Room::None }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(target_os = "linux")]
fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    use nix::fcntl::FallocateFlags;
    allocate(file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, &range)
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    allocate(file, nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE, &range)
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, flags: nix::fcntl::FallocateFlags, range: &Range<u64>) -> io::Result<()> {
    let offset = |at: u64| i64::try_from(at).map_err(io::Error::other);
    let (begin, length) = (offset(range.start)?, offset(range.end - range.start)?);
    Ok(nix::fcntl::fallocate(file, flags, begin, length)?)
}

#[cfg(not(target_os = "linux"))]
fn punch(_file: &File, _range: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _range: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn allocated(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn punched_range_is_free_and_the_rest_keeps_its_place() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 1024 * 1024]).unwrap();
        file.sync_all().unwrap();
        let (before, mut space) = (allocated(&file), Space::default());
        space.give_back(&file, PUNCH_STEP_BYTES - 1);
        assert_eq!(allocated(&file), before, "not worth it");
        space.give_back(&file, 512 * 1024);
        assert!(allocated(&file) <= before - 500 * 1024, "{} of {before}", allocated(&file));
        let mut rest = vec![0; 512 * 1024];
        file.read_exact_at(&mut rest, 512 * 1024).unwrap();
        assert!(rest.iter().all(|byte| *byte == b'x'));
        assert_eq!(file.metadata().unwrap().len(), 1024 * 1024);
    }

    #[test]
    fn small_punches_free_the_same_space() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 512 * 1024]).unwrap();
        file.sync_all().unwrap();
        let mut space = Space::default();
        (0..512).for_each(|part| space.give_back_all(&file, part * 1024 + 7));
        assert!(allocated(&file) <= 8 * 1024, "{}", allocated(&file));
    }

    #[test]
    fn preallocation_does_not_grow_the_file() {
        let (file, mut space) = (tempfile::tempfile().unwrap(), Space::default());
        assert_eq!(space.reserve(&file, 0), Room::Enough);
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert!(allocated(&file) >= RESERVE_BYTES, "{}", allocated(&file));
        space.reserve(&file, RESERVE_BYTES);
        assert!(allocated(&file) >= 2 * RESERVE_BYTES, "renewed");
    }
}
