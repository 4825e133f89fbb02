//! Where reading of a file begins that is not followed yet: where reading of it or of its original
//! ended, or at its beginning.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::followed::LogFile;
use crate::logs::identity::Identity;
use crate::logs::read_offsets::Remembered;

/// Equal content that is no accident: with less, two programs may have begun their logs alike.
pub(super) const SURE_COPY_BYTES: u64 = 1024;

/// The least content that is worth comparing with that of another file.
const LEAST_COPY_BYTES: u64 = 64;

/// What is compared of a copy's end.
const COMPARED_BYTES: u64 = 4096;

/// The remembered file that an open one is, if it is one.
pub(super) fn find_same<'r>(
    remembered: &'r [Remembered],
    path: &Path,
    identity: &Identity,
    file: &File,
) -> Option<&'r Remembered> {
    let standing = remembered.iter().filter(|known| !known.is_ended);
    let ranked = standing.filter_map(|known| Some((rank(known, path, identity, file)?, known)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, known)| known)
}

/// How likely a remembered file is this one: same place, same path, the length of its
/// head. None if something contradicts it.
fn rank(known: &Remembered, path: &Path, identity: &Identity, file: &File) -> Option<(u8, usize)> {
    let (was, is) = (known.identity.inode(), identity.inode());
    let is_path = known.path == path;
    let places = match (was == is, was.ino == is.ino, is_path) {
        (true, _, true) => 4,
        (_, true, true) => 3,
        (true, _, false) => 2,
        // Numbers of devices change when a host restarts, so another one is no objection where there is
        // a head.
        (_, true, false) => 1,
        // Some file systems give other numbers at each mount.
        (_, false, true) if is_proven(known) => 0,
        _ => return None,
    };
    let may_be = was.dev == is.dev || known.identity.head_bytes() > 0;
    (may_be && has_content(known, file)).then_some((places, known.identity.head_bytes()))
}

/// The remembered file that an open one is a copy of.
pub(super) fn find_original<'r>(remembered: &'r [Remembered], file: &File) -> Option<&'r Remembered> {
    let originals = remembered.iter().filter(|known| is_proven(known) && has_content(known, file));
    originals.max_by_key(|known| known.taken.offset)
}

fn is_proven(known: &Remembered) -> bool {
    let offset = known.taken.offset;
    offset >= LEAST_COPY_BYTES && known.identity.is_proof(offset) && known.taken.is_proof()
}

fn has_content(known: &Remembered, file: &File) -> bool {
    known.identity.has_head_of(file).unwrap_or(false) && known.taken.is_in(file).unwrap_or(false)
}

/// The likeness of a file to one that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// All that is in it is in the other one, too.
    Copy,
    /// All that is in the other one is in it, and more.
    Continued,
}

/// Whether a file of this length has the content of one that is followed.
pub(super) fn likeness(file: &File, length: u64, other: &LogFile) -> io::Result<Option<Likeness>> {
    let other_length = other.file().metadata()?.len();
    let common = length.min(other_length);
    let is_alike = common >= LEAST_COPY_BYTES
        && have_equal(file, other.file(), 0, common.min(COMPARED_BYTES))?
        && have_equal(file, other.file(), common - common.min(COMPARED_BYTES), common)?;
    Ok(match is_alike {
        true if length <= other_length => Some(Likeness::Copy),
        true if common >= SURE_COPY_BYTES && other.offset() <= common => Some(Likeness::Continued),
        _ => None,
    })
}

fn have_equal(one: &File, other: &File, begin: u64, end: u64) -> io::Result<bool> {
    let length = usize::try_from(end - begin).map_err(io::Error::other)?;
    let (mut left, mut right) = (vec![0; length], vec![0; length]);
    one.read_exact_at(&mut left, begin)?;
    other.read_exact_at(&mut right, begin)?;
    Ok(left == right)
}
