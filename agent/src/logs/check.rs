//! What precedes an offset, so that the offset is good for the content that it was taken in.
//!
//! A file's head is no proof: programs begin every log with the same banner. What a file has directly
//! before the place that it was read to is written later, with times in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// Bytes before an offset that are compared: one usual line with its time.
pub(crate) const CHECK_BYTES: usize = 128;

/// A hash of the bytes before an offset; of none if nothing is known of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    bytes: usize,
    crc: u32,
}

/// A place in a file, and what precedes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) offset: u64,
    pub(crate) check: Check,
}

impl Check {
    fn of(bytes: &[u8]) -> Self {
        Check { bytes: bytes.len(), crc: crc32fast::hash(bytes) }
    }

    /// Whether nothing is known.
    pub(crate) fn is_none(&self) -> bool {
        self.bytes == 0
    }
}

impl Point {
    /// An offset of which nothing more is known.
    pub(crate) fn at(offset: u64) -> Self {
        Point { offset, check: Check::default() }
    }

    /// An offset in a file.
    pub(crate) fn in_file(file: &File, offset: u64) -> io::Result<Self> {
        let mut recent = Recent::default();
        recent.load(file, offset)?;
        Ok(Point { offset, check: recent.check() })
    }

    /// Whether a file has before this offset what it had.
    pub(crate) fn is_in(&self, file: &File) -> io::Result<bool> {
        if self.check.bytes > CHECK_BYTES || file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let mut recent = Recent::default();
        recent.load_some(file, self.offset, self.check.bytes)?;
        Ok(recent.check() == self.check)
    }

    /// Whether all is known that can be compared.
    pub(crate) fn is_proof(&self) -> bool {
        let wanted = usize::try_from(self.offset).unwrap_or(usize::MAX).min(CHECK_BYTES);
        self.check.bytes >= wanted
    }
}

/// The last bytes that were read of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recent(Vec<u8>);

impl Recent {
    /// More was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(CHECK_BYTES)..];
        let kept = self.0.len().min(CHECK_BYTES - new.len());
        self.0.drain(..self.0.len() - kept);
        self.0.extend_from_slice(new);
    }

    /// Forgets the text before the end.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Reads what precedes `offset`.
    pub(crate) fn load(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.load_some(file, offset, CHECK_BYTES)
    }

    fn load_some(&mut self, file: &File, offset: u64, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min(usize::try_from(offset).unwrap_or(usize::MAX));
        self.0.clear();
        self.0.resize(bytes, 0);
        let read = file.read_exact_at(&mut self.0, offset - bytes as u64);
        if read.is_err() {
            self.0.clear();
        }
        read
    }

    /// The hash of them.
    pub(crate) fn check(&self) -> Check {
        Check::of(&self.0)
    }

    /// Whether a file has them before `offset`.
    pub(crate) fn is_in(&self, file: &File, offset: u64) -> io::Result<bool> {
        let mut there = Recent::default();
        match there.load_some(file, offset, self.0.len()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| there == *self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_point_is_good_for_the_content_that_it_was_taken_in() {
        let mut file = tempfile::tempfile().unwrap();
        let (mut recent, text) = (Recent::default(), "a line that is read in parts\n".repeat(20));
        for part in text.as_bytes().chunks(7) {
            recent.push(part);
        }
        file.write_all(text.as_bytes()).unwrap();
        let offset = text.len() as u64;
        let point = Point { offset, check: recent.check() };
        assert_eq!(point, Point::in_file(&file, offset).unwrap());
        file.write_all(b"more\n").unwrap();
        assert!(point.is_in(&file).unwrap() && point.is_proof() && recent.is_in(&file, offset).unwrap());
        file.write_at(b"X", offset - CHECK_BYTES as u64).unwrap();
        assert!(!point.is_in(&file).unwrap() && !recent.is_in(&file, offset).unwrap());
        file.set_len(offset - 1).unwrap();
        assert!(!point.is_in(&file).unwrap() && !recent.is_in(&file, offset).unwrap());
        assert!(Point::at(3).is_in(&file).unwrap() && !Point::at(3).is_proof());
    }
}
