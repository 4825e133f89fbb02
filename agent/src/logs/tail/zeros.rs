//! Zeros in a log file are not text: programs take space before they use it, and leave a hole when
//! their log is truncated and they continue at their old offset. At zeros that reach to the end of a
//! file the reader waits; what follows zeros is read.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// What is checked in one read. No log has so many zeros between its lines.
const BLOCK_BYTES: u64 = 4096;

/// Where the data ends that begins at `offset` of a file of this size: at its end, unless zeros are
/// there. Costs one read of one byte when there are none, and some twenty reads when there are.
pub(in crate::logs) fn data_end(file: &File, offset: u64, size: u64) -> io::Result<u64> {
    if size <= offset || last_text(file, size - 1, size)?.is_some() {
        return Ok(size);
    }
    let mut text = offset;
    if last_text(file, text, size)?.is_none() {
        text = next_data(file, offset);
        if text <= offset || text >= size || last_text(file, text, size)?.is_none() {
            return Ok(offset);
        }
    }
    // There is text in the block at `text`, and none from `zeros` on.
    let mut zeros = size;
    while zeros - text > BLOCK_BYTES {
        let middle = text + (zeros - text) / 2;
        match last_text(file, middle, size)? {
            Some(_) => text = middle,
            None => zeros = middle,
        }
    }
    Ok(last_text(file, text, size)?.unwrap_or(offset))
}

/// After the last byte of the block at `at` that is not zero.
fn last_text(file: &File, at: u64, size: u64) -> io::Result<Option<u64>> {
    let mut block = [0; BLOCK_BYTES as usize];
    let length = usize::try_from((size - at).min(BLOCK_BYTES)).map_err(io::Error::other)?;
    let read = file.read_at(&mut block[..length], at)?;
    let last = block[..read].iter().rposition(|byte| *byte != 0);
    Ok(last.map(|last| at + last as u64 + 1))
}

/// Where the next data is after `offset`, at once where the platform knows.
#[cfg(target_os = "linux")]
pub(super) fn next_data(file: &File, offset: u64) -> u64 {
    use nix::unistd::{Whence, lseek};
    let Ok(from) = i64::try_from(offset) else { return offset };
    let found = lseek(file.as_fd(), from, Whence::SeekData).ok().and_then(|found| u64::try_from(found).ok());
    found.unwrap_or(offset)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn next_data(_file: &File, offset: u64) -> u64 {
    offset
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(parts: &[(u64, &[u8])], offset: u64, size: u64) -> u64 {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        data_end(&file, offset, size).unwrap()
    }

    #[test]
    fn data_ends_where_zeros_reach_to_the_end_and_not_where_data_follows() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(end(&[(0, b"a\nb")], 0, 3), 3);
        assert_eq!(end(&[(0, b"a\nb")], 0, 4), 3);
        assert_eq!(end(&[(0, b"a\n")], 2, 64 * MIB), 2);
        assert_eq!(end(&[(0, b"a\n")], 0, 64 * MIB), 2);
        assert_eq!(end(&[], 0, 64 * MIB), 0);
        assert_eq!(end(&[(0, &vec![b'x'; MIB as usize + 7])], 100, 64 * MIB), MIB + 7);
        assert_eq!(end(&[(MIB, b"a\n")], 0, MIB + 2), MIB + 2, "a hole before data");
        assert_eq!(end(&[(MIB, b"a\n")], 0, 9 * MIB), MIB + 2, "and zeros behind it");
    }

    proptest! {
        #[test]
        fn data_ends_behind_its_last_byte(length in 1_u64..40_000, zeros in 0_u64..40_000, from in 0_u64..40_000) {
            let text = vec![b'x'; usize::try_from(length).unwrap()];
            prop_assert_eq!(end(&[(0, &text)], from.min(length), length + zeros), length);
        }
    }
}
