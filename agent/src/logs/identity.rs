//! The identity of a log file: device, inode, and how it begins. The number of the device does not count
//! where the file has a head, because it changes at reboots. What precedes the place
//! that was read to belongs to it, too: see [`super::check`].
//!
//! A path is not enough, because rotation gives it to another file; an inode is not either, because
//! file systems give it to the next file as soon as it is free.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

use super::walk::Inode;

/// How much of a file's beginning is compared. Log lines begin with a time, so this differs.
const HEAD_BYTES: usize = 256;

/// The identity of a file. It is known the better the more of the file's head there is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Identity {
    dev: u64,
    ino: u64,
    head_bytes: usize,
    head_crc: u32,
}

impl Identity {
    /// That of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut head = [0; HEAD_BYTES];
        let mut head = read_head(file, &mut head)?;
        // Zeros are not written yet: programs take space before they use it.
        while let Some((0, before)) = head.split_last() {
            head = before;
        }
        let (dev, ino) = (metadata.dev(), metadata.ino());
        Ok(Identity { dev, ino, head_bytes: head.len(), head_crc: crc32fast::hash(head) })
    }

    /// The file's device and inode.
    pub(crate) fn inode(&self) -> Inode {
        Inode { dev: self.dev, ino: self.ino }
    }

    /// The length of the known head.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Whether as much of the head is known as there is before `offset`.
    pub(crate) fn is_proof(&self, offset: u64) -> bool {
        self.head_bytes >= usize::try_from(offset).unwrap_or(usize::MAX).min(HEAD_BYTES)
    }

    /// Whether the open file still begins as this one did.
    pub(crate) fn has_head_of(&self, file: &File) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES];
        let head = read_head(file, &mut head[..self.head_bytes.min(HEAD_BYTES)])?;
        Ok(head.len() == self.head_bytes && crc32fast::hash(head) == self.head_crc)
    }

    /// Whether more of the head can be had of a file of this length.
    pub(crate) fn is_partial(&self, length: u64) -> bool {
        self.head_bytes < HEAD_BYTES && length > self.head_bytes as u64
    }

    #[cfg(test)]
    pub(crate) fn for_tests(ino: u64) -> Self {
        Identity { dev: 1, ino, head_bytes: 0, head_crc: 0 }
    }
}

fn read_head<'h>(file: &File, head: &'h mut [u8]) -> io::Result<&'h [u8]> {
    let mut length = 0;
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(&head[..length])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn growing_file_keeps_its_identity() {
        let mut file = tempfile::tempfile().unwrap();
        let empty = Identity::of(&file).unwrap();
        file.write_all(b"first line\n").unwrap();
        let short = Identity::of(&file).unwrap();
        assert!(empty.is_partial(11) && !short.is_partial(11) && short.is_partial(12));
        file.write_all(&[b'x'; 1_000]).unwrap();
        assert!(empty.has_head_of(&file).unwrap() && short.has_head_of(&file).unwrap());
        file.write_at(b"F", 0).unwrap();
        assert!(empty.has_head_of(&file).unwrap() && !short.has_head_of(&file).unwrap());
        file.set_len(5).unwrap();
        assert!(!short.has_head_of(&file).unwrap(), "shorter than what was known of it");
    }

    #[test]
    fn identity_depends_on_the_head_only() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'x'; HEAD_BYTES]).unwrap();
        let before = Identity::of(&file).unwrap();
        file.write_all(b"more").unwrap();
        assert_eq!(Identity::of(&file).unwrap(), before);
    }
}
