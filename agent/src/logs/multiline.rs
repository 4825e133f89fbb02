//! Keeps the lines of one entry together, such as a stack trace with the message before it.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::UnixMillis;
use systole_shared::limits::MAX_LOG_LINE_BYTES;
use tokio::time::Instant;

use super::check::Check;
use super::lines::LineText;
use crate::model::multiline::MultilineRule;

/// Lines of one entry; those beyond begin another one.
const MAX_LINES: usize = 500;

/// The longest wait of an entry for a further line.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

/// How a line that belongs to the one before begins, besides white space.
const CONTINUATIONS: [&str; 6] = [
    "at ",
    "Caused by:",
    "Suppressed:",
    "... ",
    "During handling of the above exception",
    "The above exception was the direct cause",
];

/// Python's; the first line after it that is not indented is the exception itself.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// An entry, ready to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its lines.
    pub(crate) text: LineText,
    /// Time at which the first of them was read.
    pub(crate) at: UnixMillis,
    /// Where the last of them ends in its source.
    pub(crate) end: u64,
    /// A checksum of the text before that.
    pub(crate) check: Check,
}

/// Joins the lines of one source. Without a rule every line is an entry.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    held: Option<Held>,
}

/// An entry that a further line may belong to.
#[derive(Debug)]
struct Held {
    entry: Entry,
    lines: usize,
    is_traceback: bool,
    touched: Instant,
}

impl Joiner {
    /// Takes a line; returns what is finished by it.
    pub(crate) fn push(
        &mut self,
        rule: Option<&Arc<MultilineRule>>,
        line: Entry,
        now: Instant,
    ) -> impl Iterator<Item = Entry> + use<> {
        let Some(rule) = rule else { return self.flush().into_iter().chain(Some(line)) };
        if let Some(held) = self.held.as_mut().filter(|held| held.is_continued_by(rule, &line.text.text)) {
            held.add(line, now);
            return None.into_iter().chain(None);
        }
        let before = self.flush();
        let is_traceback = line.text.text.starts_with(TRACEBACK);
        self.held = Some(Held { entry: line, lines: 1, is_traceback, touched: now });
        before.into_iter().chain(None)
    }

    /// The entry that has waited long enough.
    pub(crate) fn flush_old(&mut self, now: Instant) -> Option<Entry> {
        let is_old = self.held.as_ref().is_some_and(|held| now.duration_since(held.touched) >= MAX_WAIT);
        if is_old { self.flush() } else { None }
    }

    /// The entry that waits.
    pub(crate) fn flush(&mut self) -> Option<Entry> {
        let mut entry = self.held.take()?.entry;
        // Empty lines at the end belong to nothing.
        entry.text.text.truncate(entry.text.text.trim_end_matches('\n').len());
        Some(entry)
    }

    /// Whether something waits for a further line.
    pub(crate) fn is_waiting(&self) -> bool {
        self.held.is_some()
    }
}

impl Held {
    fn is_continued_by(&self, rule: &MultilineRule, line: &str) -> bool {
        if self.lines == MAX_LINES || self.entry.text.text.len() + 1 + line.len() > MAX_LOG_LINE_BYTES {
            return false;
        }
        match rule {
            MultilineRule::Start(start) => !start.is_match(line),
            MultilineRule::StackTraces => {
                line.is_empty()
                    || line.starts_with([' ', '\t'])
                    || line.starts_with(TRACEBACK)
                    || CONTINUATIONS.iter().any(|begin| line.starts_with(begin))
                    || names_exception(line)
                    || self.is_traceback
            }
        }
    }

    fn add(&mut self, line: Entry, now: Instant) {
        let text = line.text.text;
        let is_inside = text.is_empty() || text.starts_with([' ', '\t']);
        self.is_traceback = text.starts_with(TRACEBACK) || (self.is_traceback && is_inside);
        self.entry.text.text.push('\n');
        self.entry.text.text.push_str(&text);
        self.entry.end = line.end;
        self.entry.check = line.check;
        self.lines += 1;
        self.touched = now;
    }
}

/// Whether a line begins with the name of an exception as Java and .NET write it, which stands below
/// the message that it was logged with.
fn names_exception(line: &str) -> bool {
    let name = line.split([':', ' ']).next().unwrap_or_default();
    name.contains('.') && (name.ends_with("Exception") || name.ends_with("Error"))
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    fn line(text: &str, end: u64) -> Entry {
        Entry { text: LineText { text: text.to_owned(), level: None }, at: 5, end, check: Check::default() }
    }

    /// Joins lines; their ends are 1, 2, 3, ….
    fn join(rule: MultilineRule, text: &str) -> Vec<String> {
        let (rule, now) = (Arc::new(rule), Instant::now());
        let mut joiner = Joiner::default();
        let mut entries = Vec::new();
        for (number, text) in (1..).zip(text.split('\n')) {
            entries.extend(joiner.push(Some(&rule), line(text, number), now));
        }
        entries.extend(joiner.flush());
        assert!(!joiner.is_waiting());
        let mut before = 0;
        for entry in &entries {
            assert!(entry.end > before, "ends grow");
            before = entry.end;
        }
        assert_eq!(before, text.split('\n').count() as u64, "the last entry ends with the last line");
        entries.into_iter().map(|entry| entry.text.text).collect()
    }

    fn traces(text: &str) -> Vec<String> {
        join(MultilineRule::StackTraces, text)
    }

    #[test]
    fn java_stack_trace_joins_its_message() {
        let trace = "ERROR boom\njava.io.IOException: y\n\tat a.B.c(D.java:1)\nCaused by: z\nat e\n... 12 more";
        let entries = traces(&format!("INFO before\n{trace}\nattempt 2\nERROR: an IOException"));
        assert_eq!(entries, ["INFO before", trace, "attempt 2", "ERROR: an IOException"]);
    }

    #[test]
    fn python_traceback_ends_with_its_exception() {
        let trace = "ERROR boom\nTraceback (most recent call last):\n  File \"x\", line 1\n    f()\nValueError: no\n\n\
            During handling of the above exception, another exception occurred:\n\n\
            Traceback (most recent call last):\n  File \"y\", line 2\nKeyError: 'k'";
        assert_eq!(traces(&format!("{trace}\nnext\nlast")), [trace, "next", "last"]);
    }

    #[test]
    fn custom_rule_sets_the_start_of_an_entry() {
        let rule = MultilineRule::Start(Regex::new(r"^\d{4}-").unwrap());
        assert_eq!(
            join(rule, "torn\n2026-01-01 a\nb\n c\n2026-01-02 d"),
            ["torn", "2026-01-01 a\nb\n c", "2026-01-02 d"]
        );
    }

    #[test]
    fn entry_is_bounded_by_lines_and_bytes() {
        let entries = traces(&["begin"].into_iter().chain([" x"; 1_200]).collect::<Vec<_>>().join("\n"));
        let lines: Vec<_> = entries.iter().map(|entry| entry.split('\n').count()).collect();
        assert_eq!(lines, [MAX_LINES, MAX_LINES, 201]);
        let long = format!(" {}", "x".repeat(MAX_LOG_LINE_BYTES / 3));
        let entries = traces(&[long.as_str(); 7].join("\n"));
        assert!(entries.len() > 2 && entries.iter().all(|entry| entry.len() <= MAX_LOG_LINE_BYTES));
    }

    #[test]
    fn entry_waits_a_second_and_keeps_its_first_time() {
        let (rule, begin) = (Arc::new(MultilineRule::StackTraces), Instant::now());
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(Some(&rule), line("a", 1), begin).count(), 0);
        assert_eq!(joiner.flush_old(begin + MAX_WAIT / 2), None);
        let second = Entry { at: 9, ..line(" b", 2) };
        assert_eq!(joiner.push(Some(&rule), second, begin + MAX_WAIT / 2).count(), 0);
        assert_eq!(joiner.flush_old(begin + MAX_WAIT), None);
        let entry = joiner.flush_old(begin + MAX_WAIT * 3 / 2).unwrap();
        assert_eq!((entry.text.text.as_str(), entry.at, entry.end), ("a\n b", 5, 2));
    }

    #[test]
    fn lines_are_entries_without_a_rule() {
        let now = Instant::now();
        let mut joiner = Joiner::default();
        for (number, text) in [(1, "a"), (2, " b"), (3, "")] {
            assert_eq!(joiner.push(None, line(text, number), now).collect::<Vec<_>>(), [line(text, number)]);
        }
    }
}
