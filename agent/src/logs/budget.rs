//! The lines of one pipeline that wait for a report, within the protocol's budget.

use std::collections::VecDeque;

use systole_shared::limits::{LOG_LINES_BURST, LOG_LINES_PER_SECOND, MAX_LOG_LINES_PER_REPORT};
use tokio::time::Instant;

use super::Line;

/// Text that waits per pipeline: thousands of usual lines, but not thousands of the longest.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The waiting lines of one pipeline. Beyond the budget the oldest go: what a pipeline said last is
/// what explains its end.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    lines: VecDeque<Line>,
    bytes: usize,
    tokens: f64,
    refilled: Instant,
    dropped: u64,
}

impl LogBuffer {
    /// An empty one with the full burst.
    pub(crate) fn new(now: Instant) -> Self {
        LogBuffer { lines: VecDeque::new(), bytes: 0, tokens: f64::from(LOG_LINES_BURST), refilled: now, dropped: 0 }
    }

    /// Takes a line.
    pub(crate) fn push(&mut self, line: Line, now: Instant) {
        let refill = now.duration_since(self.refilled).as_secs_f64() * f64::from(LOG_LINES_PER_SECOND);
        self.tokens = (self.tokens + refill).min(f64::from(LOG_LINES_BURST));
        self.refilled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
        } else {
            // The new line takes the place of the oldest. With none waiting it is one too many,
            // which keeps the last line of a flood.
            self.drop_oldest();
        }
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.bytes > MAX_WAITING_BYTES || self.lines.len() > MAX_LOG_LINES_PER_REPORT {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.lines.pop_front() {
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    /// The oldest line that waits.
    pub(crate) fn first(&self) -> Option<&Line> {
        self.lines.front()
    }

    /// Takes the oldest line out.
    pub(crate) fn take_first(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.text.len();
        Some(line)
    }

    /// How many lines were dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use systole_shared::LogStream;

    use super::*;

    fn line(text: &str) -> Line {
        Line { at: 0, stream: LogStream::Stdout, text: text.to_owned() }
    }

    fn drain(buffer: &mut LogBuffer) -> Vec<String> {
        std::iter::from_fn(|| buffer.take_first()).map(|line| line.text).collect()
    }

    #[test]
    fn beyond_the_burst_the_oldest_go_and_are_counted() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        (0..1_500).for_each(|number| buffer.push(line(&number.to_string()), now));
        assert_eq!(buffer.take_dropped(), 500);
        let kept = drain(&mut buffer);
        assert_eq!((kept.len(), kept[0].as_str(), kept[999].as_str()), (1_000, "500", "1499"));
        assert_eq!(buffer.take_dropped(), 0);
    }

    #[test]
    fn in_the_long_run_200_lines_a_second_are_kept() {
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
        assert_eq!(buffer.take_dropped() + u64::try_from(kept).unwrap(), 10_000);
    }

    #[test]
    fn the_last_line_of_a_flood_is_kept() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        (0..1_000).for_each(|_| buffer.push(line("flood"), now));
        drain(&mut buffer);
        buffer.push(line("last but one"), now);
        buffer.push(line("last"), now);
        assert_eq!(drain(&mut buffer), ["last"]);
        assert_eq!(buffer.take_dropped(), 1);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let now = Instant::now();
        let mut buffer = LogBuffer::new(now);
        let long = "x".repeat(64 * 1024);
        (0..100).for_each(|_| buffer.push(line(&long), now));
        assert_eq!(drain(&mut buffer).len(), MAX_WAITING_BYTES / long.len());
        assert_eq!(buffer.take_dropped(), 100 - 16);
    }
}
