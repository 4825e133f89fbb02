//! The lines of one pipeline that wait for a report, within the protocol's budget.

use std::collections::VecDeque;
use std::time::Duration;

use systole_shared::UnixMillis;
use systole_shared::limits::{LOG_LINES_BURST, LOG_LINES_PER_SECOND, MAX_LOG_LINES_PER_REPORT};
use tokio::time::Instant;

use super::Line;
use super::last_output::LastOutput;
use super::read_offsets::{Offset, ReadOffsets, SavedLogs};

/// How often an estimated number of lines is logged.
const LOG_ESTIMATE_EVERY: Duration = Duration::from_secs(60);

/// Text that waits per pipeline: thousands of usual lines, but not thousands of the longest.
pub(crate) const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The waiting lines of one pipeline. Beyond the budget the oldest go: what a pipeline said last is
/// what explains its end. That does not apply to files, because a file can wait.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    lines: VecDeque<Waiting>,
    bytes: usize,
    tokens: f64,
    refilled: Instant,
    dropped: u64,
    /// Lines that were skipped and estimated since that was logged last.
    estimated: u64,
    estimate_logged_at: Option<Instant>,
    /// Read offsets of the sources of the lines.
    pub(crate) offsets: ReadOffsets,
    /// The end of the process's output.
    pub(crate) last_output: LastOutput,
    /// What is to be kept with the last report.
    closed: SavedLogs,
}

/// A line that waits.
#[derive(Debug)]
struct Waiting {
    line: Line,
    /// Its end in its source, if it can be read again there.
    line_end: Option<Offset>,
    /// Lines of its source before it that were skipped.
    skipped: u64,
}

impl LogBuffer {
    /// An empty one with the full burst.
    pub(crate) fn new(now: Instant) -> Self {
        LogBuffer {
            lines: VecDeque::new(),
            bytes: 0,
            tokens: f64::from(LOG_LINES_BURST),
            refilled: now,
            dropped: 0,
            estimated: 0,
            estimate_logged_at: None,
            offsets: ReadOffsets::default(),
            last_output: LastOutput::default(),
            closed: SavedLogs::default(),
        }
    }

    /// Takes a line of a source that cannot be read again.
    pub(crate) fn push(&mut self, line: Line, now: Instant) {
        self.take_in(Waiting { line, line_end: None, skipped: 0 }, now);
    }

    /// Takes a line of a source, before which lines were skipped.
    pub(crate) fn push_at(&mut self, line: Line, line_end: Offset, skipped: u64, now: Instant) {
        self.offsets.wait(line_end);
        self.take_in(Waiting { line, line_end: Some(line_end), skipped }, now);
    }

    fn take_in(&mut self, waiting: Waiting, now: Instant) {
        self.last_output.push(&waiting.line);
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
        } else {
            // The new line takes the place of the oldest. With none waiting it is one too many,
            // which keeps the last line of a flood.
            self.drop_oldest();
        }
        self.bytes += waiting.line.text.len();
        self.lines.push_back(waiting);
        while self.bytes > MAX_WAITING_BYTES || self.lines.len() > MAX_LOG_LINES_PER_REPORT {
            self.drop_oldest();
        }
    }

    fn refill(&mut self, now: Instant) {
        let refill = now.duration_since(self.refilled).as_secs_f64() * f64::from(LOG_LINES_PER_SECOND);
        self.tokens = (self.tokens + refill).min(f64::from(LOG_LINES_BURST));
        self.refilled = now;
    }

    /// The number of lines that can be taken now without dropping another one.
    pub(crate) fn room(&mut self, now: Instant) -> usize {
        self.refill(now);
        if self.bytes > MAX_WAITING_BYTES / 2 {
            return 0;
        }
        (self.tokens as usize).min(MAX_LOG_LINES_PER_REPORT - self.lines.len())
    }

    fn drop_oldest(&mut self) {
        if self.take_oldest().is_some() {
            self.dropped += 1;
        }
    }

    /// Counts skipped lines of a source that has no later line.
    pub(crate) fn add_dropped(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// Counts skipped lines, by estimate.
    pub(crate) fn add_estimated(&mut self, lines: u64) {
        self.estimated += lines;
    }

    /// Lines that were estimated since the last time, when it is time to log them.
    pub(crate) fn take_estimated(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.estimate_logged_at.is_none_or(|logged| now >= logged + LOG_ESTIMATE_EVERY);
        if self.estimated == 0 || !is_due {
            return None;
        }
        self.estimate_logged_at = Some(now);
        Some(std::mem::take(&mut self.estimated))
    }

    /// The oldest line that waits.
    pub(crate) fn first(&self) -> Option<&Line> {
        self.lines.front().map(|waiting| &waiting.line)
    }

    /// Takes the oldest line out, into a report.
    pub(crate) fn take_first(&mut self) -> Option<Line> {
        self.take_oldest()
    }

    fn take_oldest(&mut self) -> Option<Line> {
        let Waiting { line, line_end, skipped } = self.lines.pop_front()?;
        self.bytes -= line.text.len();
        self.dropped += skipped;
        if let Some(line_end) = line_end {
            self.offsets.mark_reported(line_end);
        }
        Some(line)
    }

    /// A report has taken what it has room for. Returns how many lines were dropped since the last one.
    pub(crate) fn close_report(&mut self, now: UnixMillis) -> u64 {
        self.closed = self.offsets.close_report(now);
        std::mem::take(&mut self.dropped)
    }

    /// The state to keep with the report that was closed last.
    pub(crate) fn closed(&self) -> &SavedLogs {
        &self.closed
    }

    /// Continues from what an earlier run of the agent kept.
    pub(crate) fn restore(&mut self, saved: SavedLogs, now: UnixMillis) {
        self.closed = saved.clone();
        self.offsets.restore(saved, now);
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::LogStream;

    use super::*;

    fn line(text: &str) -> Line {
        Line { at: 0, stream: LogStream::Stdout, text: text.to_owned(), level: None }
    }

    fn drain(buffer: &mut LogBuffer) -> Vec<String> {
        std::iter::from_fn(|| buffer.take_first()).map(|line| line.text).collect()
    }

    #[test]
    fn burst_drops_and_counts_the_oldest_lines() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        (0..1_500).for_each(|number| buffer.push(line(&number.to_string()), now));
        assert_eq!(buffer.close_report(0), 500);
        let kept = drain(&mut buffer);
        assert_eq!((kept.len(), kept[0].as_str(), kept[999].as_str()), (1_000, "500", "1499"));
        assert_eq!(buffer.close_report(0), 0);
    }

    #[test]
    fn budget_keeps_200_lines_per_second() {
        let start = Instant::now();
        let mut buffer = LogBuffer::new(start);
        let mut kept = 0;
        for tick in 0..1_000_u32 {
            let now = start + Duration::from_millis(10) * tick;
            (0..10).for_each(|_| buffer.push(line("x"), now));
            if tick % 500 == 499 {
                kept += drain(&mut buffer).len();
            }
        }
        // 10 s: the burst, and 200 for each second.
        assert!((2_990..=3_002).contains(&kept), "{kept}");
        assert_eq!(buffer.close_report(0) + u64::try_from(kept).unwrap(), 10_000);
    }

    #[test]
    fn flood_keeps_its_last_line() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        (0..1_000).for_each(|_| buffer.push(line("flood"), now));
        drain(&mut buffer);
        buffer.push(line("last but one"), now);
        buffer.push(line("last"), now);
        assert_eq!(drain(&mut buffer), ["last"]);
        assert_eq!(buffer.close_report(0), 1);
    }

    #[test]
    fn long_lines_are_bounded_by_bytes() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        let long = "x".repeat(64 * 1024);
        (0..100).for_each(|_| buffer.push(line(&long), now));
        assert_eq!(drain(&mut buffer).len(), MAX_WAITING_BYTES / long.len());
        assert_eq!(buffer.close_report(0), 100 - 16);
    }

    #[test]
    fn estimates_are_logged_once_a_minute() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        assert_eq!(buffer.take_estimated(now), None);
        buffer.add_estimated(5);
        assert_eq!(buffer.take_estimated(now), Some(5));
        buffer.add_estimated(6);
        assert_eq!(buffer.take_estimated(now + LOG_ESTIMATE_EVERY / 2), None);
        buffer.add_estimated(7);
        assert_eq!(buffer.take_estimated(now + LOG_ESTIMATE_EVERY), Some(13));
    }
}
