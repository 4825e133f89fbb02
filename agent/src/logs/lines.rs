//! Splits a stream of bytes into lines of bounded length.

use systole_shared::LogLevel;
use systole_shared::limits::{MAX_LOG_LINE_BYTES, cut};

use super::level;

/// Longest line that is read as one; what is beyond is skipped. A JSON line may have its level
/// at its end, so more is read than is sent.
const MAX_READ_BYTES: usize = 1024 * 1024;

/// What a splitter keeps allocated between two lines.
const KEPT_BYTES: usize = 4 * 1024;

/// The text of a line, within the protocol's bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineText {
    /// Without its line end; marked when it was cut.
    pub(crate) text: String,
    /// Of a line that was cut, the level of the whole line.
    pub(crate) level: Option<LogLevel>,
}

/// Cuts a stream at its line ends. Holds at most the beginning of one line.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    line: Vec<u8>,
    is_too_long: bool,
}

impl LineSplitter {
    /// Takes bytes up to and with the next line end, or all of them. Returns how many, and the line
    /// that they finish.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> (usize, Option<LineText>) {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return (bytes.len(), None);
        };
        if self.is_between_lines() && end <= MAX_READ_BYTES {
            return (end + 1, Some(text_of(&bytes[..end], false)));
        }
        self.keep(&bytes[..end]);
        (end + 1, Some(self.finish_line()))
    }

    /// The stream has ended: what is left is a line, if there is anything.
    pub(crate) fn finish(&mut self) -> Option<LineText> {
        (!self.is_between_lines()).then(|| self.finish_line())
    }

    /// Whether nothing of a line is held.
    pub(crate) fn is_between_lines(&self) -> bool {
        self.line.is_empty() && !self.is_too_long
    }

    /// Whether more of the line that is held would make no difference.
    pub(crate) fn is_skipping(&self) -> bool {
        self.is_too_long
    }

    /// Bytes of the line that is held are skipped.
    pub(crate) fn skip(&mut self) {
        self.is_too_long = true;
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than a line may have, for the CR that is taken off.
        let room = MAX_READ_BYTES + 1 - self.line.len();
        self.is_too_long |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish_line(&mut self) -> LineText {
        let line = text_of(&self.line, std::mem::take(&mut self.is_too_long));
        self.line.clear();
        // A single long line must not hold its memory for ever.
        self.line.shrink_to(KEPT_BYTES);
        line
    }
}

/// The text of a line; of one that was torn, a CR at its end is a part of it.
pub(super) fn text_of(mut line: &[u8], is_torn: bool) -> LineText {
    if !is_torn {
        line = line.strip_suffix(b"\r").unwrap_or(line);
    }
    let mut text = String::from_utf8_lossy(line).into_owned();
    if text.contains('\0') {
        // Legal in UTF-8, but databases refuse it.
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() <= MAX_LOG_LINE_BYTES {
        return LineText { text, level: None };
    }
    LineText { level: level::find(&text), text: cut(&text, MAX_LOG_LINE_BYTES).into_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use systole_shared::limits::CUT_MARK;

    use super::*;

    fn split_all(chunks: &[&[u8]]) -> Vec<LineText> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for mut bytes in chunks.iter().copied() {
            while !bytes.is_empty() {
                let (used, line) = splitter.take(bytes);
                assert!(used > 0 && splitter.line.len() <= MAX_READ_BYTES + 1);
                lines.extend(line);
                bytes = &bytes[used..];
            }
        }
        lines.extend(splitter.finish());
        lines
    }

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        split_all(chunks).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_end_at_lf_without_cr() {
        assert_eq!(split(&[b"a\r\nb", b"c\n\nd\re"]), ["a", "bc", "", "d\re"]);
        assert_eq!(split(&[b"a\n"]), ["a"]);
    }

    #[test]
    fn line_beyond_64_kib_is_cut_and_marked() {
        let long = vec![b'x'; 3 * MAX_LOG_LINE_BYTES];
        let lines = split(&[&long, b"yy\nnext\n"]);
        assert_eq!(lines[0].len(), MAX_LOG_LINE_BYTES);
        assert!(lines[0].ends_with(CUT_MARK));
        assert_eq!(lines[1], "next");
        let whole = vec![b'x'; MAX_LOG_LINE_BYTES];
        assert_eq!(split(&[&whole, b"\r\n"]), [String::from_utf8(whole).unwrap()]);
    }

    #[test]
    fn level_of_a_cut_line_is_found_in_the_whole_line() {
        let long = format!(r#"{{"msg":"{}","level":"error"}}"#, "x".repeat(MAX_READ_BYTES - 100));
        let lines = split_all(&[long.as_bytes(), b"\nshort\n"]);
        assert_eq!(lines[0].level, Some(LogLevel::Error));
        assert_eq!((lines[1].text.as_str(), lines[1].level), ("short", None));
    }

    #[test]
    fn line_beyond_1_mib_is_not_buffered() {
        let long = vec![b'x'; MAX_READ_BYTES];
        let lines = split(&[b"first\n", &long, &long, &long, b"\nlast"]);
        assert_eq!((lines.len(), lines[0].as_str(), lines[2].as_str()), (3, "first", "last"));
        assert_eq!(lines[1].len(), MAX_LOG_LINE_BYTES);
    }

    #[test]
    fn torn_utf8_and_nul_are_replaced() {
        assert_eq!(split(&[b"a\xffb\0c\xe2\x82\n"]), ["a\u{fffd}b\u{fffd}c\u{fffd}"]);
        assert_eq!(split(&[b"\xe2\x82", b"\xac\n"]), ["€"]);
    }

    proptest! {
        #[test]
        fn result_is_independent_of_chunk_borders(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
