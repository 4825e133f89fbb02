//! Limits the log lines of one node, so that its flood does not use the disk space of the others.
//!
//! An agent has a limit of its own for each pipeline, but any holder of a token can report, and the
//! collector cannot trust a node. Lines above the budget are dropped and counted as `logsDropped` of its
//! pipeline; reports and their figures are never refused for it. Ten minutes' worth may come at once: an
//! agent that returns after an outage brings the lines of that time.

use systole_shared::UnixMillis;

use crate::config::LogLimits;
use crate::model::report::ReportedLine;
use crate::model::{Rate, TokenBucket};

/// Seconds of the average that may come at once.
const BURST_SECONDS: f64 = 600.0;

/// The rest of a node's budget; full at the start of the collector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogBudget(Option<Buckets>);

#[derive(Clone, Copy, Debug)]
struct Buckets {
    lines: TokenBucket,
    bytes: TokenBucket,
}

/// `0` is no limit: so much never runs out.
fn rate(per_second: u32) -> Rate {
    match per_second {
        0 => Rate { per_second: f64::MAX, burst: f64::MAX },
        count => Rate { per_second: f64::from(count), burst: f64::from(count) * BURST_SECONDS },
    }
}

impl LogBudget {
    /// Returns the number of accepted lines, the first ones first.
    pub(crate) fn admit(&mut self, lines: &[ReportedLine], limits: LogLimits, now: UnixMillis) -> usize {
        if limits.lines_per_second == 0 && limits.bytes_per_second == 0 {
            return lines.len();
        }
        let (line_rate, byte_rate) = (rate(limits.lines_per_second), rate(limits.bytes_per_second));
        let full = || Buckets { lines: TokenBucket::full(line_rate, now), bytes: TokenBucket::full(byte_rate, now) };
        let buckets = self.0.get_or_insert_with(full);
        let (lines_left, bytes_left) = (buckets.lines.left(line_rate, now), buckets.bytes.left(byte_rate, now));
        let (mut count, mut bytes) = (0.0, 0.0);
        for line in lines {
            let with_this = bytes + line.line.len() as f64;
            if count + 1.0 > lines_left || with_this > bytes_left {
                break;
            }
            count += 1.0;
            bytes = with_this;
        }
        buckets.lines.take(count);
        buckets.bytes.take(bytes);
        count as usize
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::LogStream;

    use super::*;

    fn lines(count: usize, bytes: usize) -> Vec<ReportedLine> {
        let line = ReportedLine { at: 0, stream: LogStream::Stdout, level: None, line: "x".repeat(bytes) };
        vec![line; count]
    }

    fn limits(lines_per_second: u32, bytes_per_second: u32) -> LogLimits {
        LogLimits { lines_per_second, bytes_per_second, kept_bytes: 0 }
    }

    #[test]
    fn budget_of_lines_is_ten_minutes_at_once_and_then_its_rate() {
        let (mut budget, limits) = (LogBudget::default(), limits(2, 0));
        assert_eq!(budget.admit(&lines(1_000, 10), limits, 0), 1_000);
        assert_eq!(budget.admit(&lines(1_000, 10), limits, 0), 200);
        assert_eq!(budget.admit(&lines(1_000, 10), limits, 0), 0);
        assert_eq!(budget.admit(&lines(1_000, 10), limits, 5_000), 10);
        assert_eq!(budget.admit(&lines(1_000, 10), limits, 4_000), 0);
    }

    #[test]
    fn budget_of_bytes_counts_beside_that_of_lines() {
        let (mut budget, limits) = (LogBudget::default(), limits(1_000, 10));
        assert_eq!(budget.admit(&lines(100, 1_000), limits, 0), 6);
        assert_eq!(budget.admit(&lines(100, 1), limits, 1_000), 10);
    }

    #[test]
    fn budget_without_limits_takes_everything() {
        let mut budget = LogBudget::default();
        assert!((0..100).all(|_| budget.admit(&lines(1_000, 100), limits(0, 0), 0) == 1_000));
    }
}
