//! The last lines of a process's output, even if they were dropped since: they explain its end.
//!
//! Lines that wait for a report are no place to search. The report may have taken them already.

use std::collections::VecDeque;

use systole_shared::{LogLevel, LogStream, UnixMillis};

use super::{Line, level};

/// Lines that are kept: an error is often followed by a few lines about the stop.
const MAX_LINES: usize = 32;

/// Bytes that are kept of each: more than a `reason` has room for.
const MAX_LINE_BYTES: usize = 512;

/// An error further before the end than this does not explain it.
const MAX_AGE_MS: i64 = 10_000;

/// The last lines of the present process.
#[derive(Debug, Default)]
pub(crate) struct LastOutput {
    lines: VecDeque<LastLine>,
}

#[derive(Debug)]
struct LastLine {
    at: UnixMillis,
    stream: LogStream,
    level: Option<LogLevel>,
    text: String,
}

impl LastOutput {
    /// Another process begins.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Keeps a line of the process's output; lines of log files are not.
    pub(crate) fn push(&mut self, line: &Line) {
        if line.stream == LogStream::File {
            return;
        }
        // The text's place is used again: a flood allocates nothing.
        let mut text = if self.lines.len() == MAX_LINES {
            self.lines.pop_front().map(|oldest| oldest.text).unwrap_or_default()
        } else {
            String::new()
        };
        text.clear();
        text.push_str(&line.text[..line.text.floor_char_boundary(MAX_LINE_BYTES)]);
        self.lines.push_back(LastLine { at: line.at, stream: line.stream, level: line.level, text });
    }

    /// The last error before an end at `now`: the newest line that says it is one, or else the newest
    /// line on standard error that says nothing of its level.
    pub(crate) fn error(&self, now: UnixMillis) -> Option<&str> {
        let recent = || self.lines.iter().rev().filter(move |line| now - line.at <= MAX_AGE_MS);
        let level_of = |line: &LastLine| line.level.or_else(|| level::find(&line.text));
        let is_bare = |line: &LastLine| line.stream == LogStream::Stderr && level_of(line).is_none();
        let found = recent().find(|line| level_of(line) == Some(LogLevel::Error));
        let found = found.or_else(|| recent().find(|line| is_bare(line) && !line.text.trim().is_empty()))?;
        Some(&found.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(lines: &[(i64, LogStream, &str)]) -> LastOutput {
        let mut output = LastOutput::default();
        for &(at, stream, text) in lines {
            output.push(&Line { at, stream, text: text.to_owned(), level: None });
        }
        output
    }

    #[test]
    fn error_is_the_newest_line_that_says_so() {
        use LogStream::{File, Stderr, Stdout};
        let bound = "2026-11-29T10:00:00Z ERROR vector: Address already in use";
        let lines = [
            (0, Stderr, "2026-11-29T09:00:00Z ERROR vector: an hour ago"),
            (50_000, Stderr, bound),
            (50_001, Stderr, "2026-11-29T10:00:00Z  INFO vector: stopping"),
            (50_002, File, "ERROR of a log file"),
            (50_003, Stdout, "bare"),
        ];
        assert_eq!(output(&lines).error(50_010), Some(bound));
        assert_eq!(output(&lines).error(60_004), None, "it was too long ago");
        assert_eq!(
            output(&[(0, Stderr, "sh: 1: nonsense: not found"), (1, Stdout, "x")]).error(2),
            Some("sh: 1: nonsense: not found")
        );
        assert_eq!(output(&[]).error(0), None);
    }

    #[test]
    fn lines_are_bounded_in_number_and_length() {
        let long = "\u{fc}".repeat(10_000);
        let output = output(&vec![(0, LogStream::Stderr, long.as_str()); 1_000]);
        assert_eq!(output.lines.len(), MAX_LINES);
        assert!(output.lines.iter().all(|line| line.text.len() <= MAX_LINE_BYTES));
    }
}
