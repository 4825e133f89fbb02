//! One record of a segment: length, CRC-32, body.
//!
//! A power cut can leave half a record at the end of a file, or a block of zeros where one was to
//! be; both read as the end of what is valid, and everything before stays.

use std::ops::Range;

/// Length and checksum before each body.
pub(super) const HEADER_BYTES: usize = 8;

/// The bytes of a record.
pub(super) fn encode(body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// Where the bodies of all whole records are, from the start up to the first one that is not.
pub(super) fn scan(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut bodies = Vec::new();
    let mut at = 0;
    while let Some(body) = body_at(bytes, at) {
        at = body.end;
        bodies.push(body);
    }
    bodies
}

fn body_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let number = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
    let length = number(at)? as usize;
    let checksum = number(at + 4)?;
    let start = at + HEADER_BYTES;
    let body = bytes.get(start..start.checked_add(length)?)?;
    // An empty body has the checksum zero, so a block of zeros would be full of them.
    (length > 0 && is_whole(body, checksum)).then_some(start..start + length)
}

/// Whether a body is what was written.
pub(super) fn is_whole(body: &[u8], checksum: u32) -> bool {
    crc32fast::hash(body) == checksum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_cut_or_spoilt_anywhere_keeps_every_record_before(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..8),
            cut in any::<prop::sample::Index>(),
            spoil in any::<bool>(),
        ) {
            let records: Vec<Vec<u8>> = bodies.iter().map(|body| encode(body)).collect();
            let mut file = records.concat();
            let at = cut.index(file.len());
            if spoil {
                file[at] ^= 0x5a;
            } else {
                file.truncate(at);
            }
            let mut end = 0;
            let whole = records.iter().take_while(|record| { end += record.len(); end <= at }).count();
            let found: Vec<&[u8]> = scan(&file).into_iter().map(|range| &file[range]).collect();
            prop_assert_eq!(found, bodies[..whole].iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }

    #[test]
    fn zeros_are_no_records() {
        assert_eq!(scan(&[0; 4096]), []);
    }
}
