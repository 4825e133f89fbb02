//! Splits a stream of bytes into lines of bounded length.

use systole_shared::limits::{CUT_MARK, MAX_LOG_LINE_BYTES};

/// Cuts a stream at its line ends. Holds at most one line of [`MAX_LOG_LINE_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    line: Vec<u8>,
    too_long: bool,
}

impl LineSplitter {
    /// Takes the next bytes and hands every finished line to `emit`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            emit(self.finish_line());
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// The stream has ended: what is left is a line, if there is anything.
    pub(crate) fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty() || self.too_long).then(|| self.finish_line())
    }

    fn take(&mut self, bytes: &[u8]) {
        // One byte more than a line may have, for the CR that is taken off.
        let room = MAX_LOG_LINE_BYTES + 1 - self.line.len();
        self.too_long |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish_line(&mut self) -> String {
        let cut = std::mem::take(&mut self.too_long);
        let mut line: &[u8] = &self.line;
        if !cut {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        // NUL is legal in UTF-8, but databases refuse it.
        let mut text = String::from_utf8_lossy(line).replace('\0', "\u{fffd}");
        if cut || text.len() > MAX_LOG_LINE_BYTES {
            text.truncate(text.floor_char_boundary(MAX_LOG_LINE_BYTES - CUT_MARK.len()));
            text.push_str(CUT_MARK);
        }
        self.line.clear();
        // A single long line must not hold its memory for ever.
        self.line.shrink_to(4096);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
            assert!(splitter.line.len() <= MAX_LOG_LINE_BYTES + 1);
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn lines_end_at_lf_without_their_cr_and_the_last_one_needs_no_end() {
        assert_eq!(split(&[b"a\r\nb", b"c\n\nd\re"]), ["a", "bc", "", "d\re"]);
        assert_eq!(split(&[b"a\n"]), ["a"]);
    }

    #[test]
    fn a_line_beyond_64_kib_is_cut_and_marked_and_the_next_one_is_whole() {
        let long = vec![b'x'; 3 * MAX_LOG_LINE_BYTES];
        let lines = split(&[&long, b"yy\nnext\n"]);
        assert_eq!(lines[0].len(), MAX_LOG_LINE_BYTES);
        assert!(lines[0].ends_with(CUT_MARK));
        assert_eq!(lines[1], "next");
        let whole = vec![b'x'; MAX_LOG_LINE_BYTES];
        assert_eq!(split(&[&whole, b"\r\n"]), [String::from_utf8(whole).unwrap()]);
    }

    #[test]
    fn torn_utf_8_and_nul_are_replaced() {
        assert_eq!(split(&[b"a\xffb\0c\xe2\x82\n"]), ["a\u{fffd}b\u{fffd}c\u{fffd}"]);
        assert_eq!(split(&[b"\xe2\x82", b"\xac\n"]), ["€"]);
    }

    proptest! {
        #[test]
        fn where_the_chunks_end_does_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
