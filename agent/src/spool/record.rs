//! Records of a segment, and how the next one is found after a damaged one.
//!
//! A segment begins with [`HEAD`], its format's version. A record is a marker, length, CRC-32 and body.
//! Bodies are JSON, so UTF-8, and the marker is not: it stands at the beginning of a record and
//! nowhere else. Segments of version 1 have neither head nor markers; there a record is known by the
//! first bytes of its body, which are the same in every report.
//!
//! A power cut can leave half a record at the end of a file, or zeros where one was to be: that is the
//! end of what was written. Anything else that is no record is damage.

use std::ops::Range;

/// The begin of a segment: no length of a version 1 record reads like this.
pub(super) const HEAD: &[u8; 8] = b"systole\x02";

/// What the heads of all versions begin with.
const HEAD_START: &[u8] = b"systole";

/// Before each record.
const MARKER: [u8; 4] = [0xFF, b'r', b'e', 0xFE];

/// Length and checksum, behind the marker.
const NUMBERS_BYTES: usize = 8;

/// Before each body.
const HEADER_BYTES: usize = MARKER.len() + NUMBERS_BYTES;

/// What every body begins with. In version 1 it stands in for a marker.
const BODY_START: &[u8] = b"{\"seq\":";

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it begins.
    pub(super) start: usize,
    /// Where its body is.
    pub(super) body: Range<usize>,
    /// Of the body.
    pub(super) checksum: u32,
    /// Whether something that is no record lies before it.
    pub(super) is_after_damage: bool,
}

/// The content of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The whole records, in order.
    pub(super) records: Vec<Record>,
    /// Whether damage lies after the last one.
    pub(super) ends_damaged: bool,
}

/// Whether a segment is of a later version, which only a later agent can read.
pub(super) fn is_of_later_version(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD_START) && bytes.get(HEAD_START.len()).is_some_and(|version| *version > HEAD[7])
}

/// The bytes of a record; returns how long the part before the body is, too.
pub(super) fn encode(body: &[u8]) -> (Vec<u8>, usize) {
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&MARKER);
    record.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&checksum(body).to_le_bytes());
    record.extend_from_slice(body);
    (record, HEADER_BYTES)
}

/// The checksum of a body.
pub(super) fn checksum(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}

/// Finds all whole records, of either version.
pub(super) fn scan(bytes: &[u8]) -> Scanned {
    let mut scanned = Scanned::default();
    let mut at = if bytes.starts_with(HEAD) { HEAD.len() } else { 0 };
    let mut is_after_damage = false;
    while at < bytes.len() {
        match record_at(bytes, at) {
            Some(mut record) => {
                record.is_after_damage = is_after_damage;
                is_after_damage = false;
                at = record.body.end;
                scanned.records.push(record);
            }
            None => match next_record(bytes, at + 1) {
                Some(next) => {
                    is_after_damage = true;
                    at = next;
                }
                None => {
                    scanned.ends_damaged = !is_unfinished(&bytes[at..]);
                    break;
                }
            },
        }
    }
    scanned
}

fn record_at(bytes: &[u8], start: usize) -> Option<Record> {
    let has_marker = bytes.get(start..)?.starts_with(&MARKER);
    let numbers = if has_marker { start + MARKER.len() } else { start };
    let (length, expected) = numbers_at(bytes, numbers)?;
    let begin = numbers + NUMBERS_BYTES;
    let body = begin..begin.checked_add(length)?;
    // An empty body has the checksum zero, so a block of zeros would be full of them.
    let is_whole = length > 0 && checksum(bytes.get(body.clone())?) == expected;
    is_whole.then_some(Record { start, body, checksum: expected, is_after_damage: false })
}

fn numbers_at(bytes: &[u8], at: usize) -> Option<(usize, u32)> {
    let number = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
    Some((number(at)? as usize, number(at + 4)?))
}

/// Where the next whole record begins, at or after `from`. Only places that look like one are tried,
/// so that a damaged file costs one pass.
fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|at| {
        let rest = &bytes[*at..];
        let looks_like_one =
            rest.starts_with(&MARKER) || rest.get(NUMBERS_BYTES..).is_some_and(|body| body.starts_with(BODY_START));
        looks_like_one && record_at(bytes, *at).is_some()
    })
}

/// Whether the end of a file is what a crash leaves: a record that is longer than the file, or zeros.
fn is_unfinished(tail: &[u8]) -> bool {
    let numbers = tail.strip_prefix(&MARKER).unwrap_or(tail);
    let is_cut = || match numbers_at(numbers, 0) {
        Some((length, _)) => length > numbers.len() - NUMBERS_BYTES,
        None => true,
    };
    tail.iter().all(|byte| *byte == 0) || tail.len() < HEADER_BYTES || is_cut()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies(texts: &[String]) -> Vec<String> {
        texts.iter().enumerate().map(|(seq, text)| format!(r#"{{"seq":{seq},"text":{text:?}}}"#)).collect()
    }

    fn of_version_1(body: &str) -> Vec<u8> {
        let (record, _) = encode(body.as_bytes());
        record[MARKER.len()..].to_vec()
    }

    fn found(file: &[u8]) -> Vec<String> {
        scan(file).records.into_iter().map(|record| String::from_utf8_lossy(&file[record.body]).into_owned()).collect()
    }

    proptest! {
        #[test]
        fn scan_finds_every_record_but_the_one_that_was_spoilt_or_cut(
            texts in prop::collection::vec("[a-zé]{0,40}", 1..8),
            cut in any::<prop::sample::Index>(),
            spoil in any::<bool>(),
            is_version_1 in any::<bool>(),
        ) {
            let bodies = bodies(&texts);
            let records: Vec<Vec<u8>> = bodies.iter().map(|body| if is_version_1 { of_version_1(body) } else { encode(body.as_bytes()).0 }).collect();
            let head = if is_version_1 { Vec::new() } else { HEAD.to_vec() };
            let mut file = [head.clone(), records.concat()].concat();
            let at = head.len() + cut.index(file.len() - head.len());
            let hit = {
                let mut end = head.len();
                records.iter().take_while(|record| { end += record.len(); end <= at }).count()
            };
            let mut expected = bodies.clone();
            if spoil {
                file[at] ^= 0x5a;
                // Without its marker a record is still known by its body.
                let start = head.len() + records[..hit].iter().map(Vec::len).sum::<usize>();
                if is_version_1 || at >= start + MARKER.len() {
                    expected.remove(hit);
                }
            } else {
                file.truncate(at);
                expected.truncate(hit);
            }
            prop_assert_eq!(found(&file), expected);
            let scanned = scan(&file);
            let damaged = scanned.records.iter().filter(|record| record.is_after_damage).count();
            if !spoil {
                prop_assert_eq!((damaged, scanned.ends_damaged), (0, false), "a cut is no damage");
            } else if hit + 1 < bodies.len() {
                prop_assert_eq!((damaged, scanned.ends_damaged), (1, false));
            }
        }
    }

    #[test]
    fn head_that_was_spoilt_costs_no_record() {
        let mut file = [HEAD.as_slice(), &encode(br#"{"seq":1}"#).0, &encode(br#"{"seq":2}"#).0].concat();
        file[2] ^= 1;
        assert_eq!(found(&file), [r#"{"seq":1}"#, r#"{"seq":2}"#]);
    }

    #[test]
    fn zeros_are_no_records_and_no_damage() {
        assert_eq!(scan(&[0; 4096]), Scanned::default());
        let file = [HEAD.as_slice(), &encode(br#"{"seq":1}"#).0, &[0; 512]].concat();
        assert_eq!((found(&file).len(), scan(&file).ends_damaged), (1, false));
    }

    #[test]
    fn body_of_the_last_record_that_was_spoilt_is_damage() {
        let mut file = [HEAD.as_slice(), &encode(br#"{"seq":1}"#).0].concat();
        *file.last_mut().unwrap() ^= 1;
        assert_eq!((found(&file).len(), scan(&file).ends_damaged), (0, true));
    }

    #[test]
    fn segment_of_a_later_version_is_known() {
        assert!(is_of_later_version(b"systole\x03"));
        assert!(!is_of_later_version(HEAD) && !is_of_later_version(b"") && !is_of_later_version(b"systole"));
    }
}
