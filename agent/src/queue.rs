//! Reports that the collector has not acknowledged yet, oldest first.
//!
//! In memory and bounded. Everyone else sees only these few calls and ready-made bodies, so that a
//! spool on disk can take this place.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bodies that wait, in bytes: an hour and more of ten pipelines' reports.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Reports that wait: a day of them, when they are tiny.
const MAX_REPORTS: usize = 20_000;

/// A report, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// Its number.
    pub(crate) seq: u64,
    /// Its JSON.
    pub(crate) body: Arc<[u8]>,
    /// Log lines in it, which are lost with it.
    pub(crate) log_lines: u64,
}

/// What had to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Reports.
    pub(crate) reports: u64,
    /// Log lines in them.
    pub(crate) log_lines: u64,
}

/// The reports that wait.
#[derive(Debug, Default)]
pub(crate) struct ReportQueue {
    reports: VecDeque<Queued>,
    bytes: usize,
}

impl ReportQueue {
    /// Adds a report; returns what of the oldest had to go for it. Numbers stay as they are, so
    /// the collector sees the hole.
    pub(crate) fn push(&mut self, report: Queued) -> Lost {
        self.bytes += report.body.len();
        self.reports.push_back(report);
        let mut lost = Lost::default();
        while (self.bytes > MAX_BYTES || self.reports.len() > MAX_REPORTS) && self.reports.len() > 1 {
            lost.log_lines += self.drop_first();
            lost.reports += 1;
        }
        lost
    }

    /// Returns how many log lines went.
    fn drop_first(&mut self) -> u64 {
        self.reports.pop_front().map_or(0, |first| {
            self.bytes -= first.body.len();
            first.log_lines
        })
    }

    /// The oldest reports, at most `max_reports` and `max_bytes` of them, but at least one.
    pub(crate) fn oldest(&self, max_reports: usize, max_bytes: usize) -> Vec<Queued> {
        let mut bytes = 0;
        let fits = |report: &&Queued| {
            bytes += report.body.len();
            bytes <= max_bytes || bytes == report.body.len()
        };
        self.reports.iter().take(max_reports.max(1)).take_while(fits).cloned().collect()
    }

    /// Forgets every report up to `seq`; returns how many there were.
    pub(crate) fn forget(&mut self, seq: u64) -> usize {
        let before = self.reports.len();
        while self.reports.front().is_some_and(|report| report.seq <= seq) {
            self.drop_first();
        }
        before - self.reports.len()
    }

    /// How many reports wait, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.reports.len() as u64, self.bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seq: u64, bytes: usize) -> Queued {
        Queued { seq, body: vec![b'x'; bytes].into(), log_lines: 10 }
    }

    fn seqs(reports: &[Queued]) -> Vec<u64> {
        reports.iter().map(|report| report.seq).collect()
    }

    #[test]
    fn the_oldest_come_first_within_both_bounds_and_at_least_one() {
        let mut queue = ReportQueue::default();
        (1..=5).for_each(|seq| assert_eq!(queue.push(report(seq, 100)), Lost::default()));
        assert_eq!(seqs(&queue.oldest(100, 1_000)), [1, 2, 3, 4, 5]);
        assert_eq!(seqs(&queue.oldest(2, 1_000)), [1, 2]);
        assert_eq!(seqs(&queue.oldest(100, 250)), [1, 2]);
        assert_eq!(seqs(&queue.oldest(100, 10)), [1]);
    }

    #[test]
    fn what_is_durable_is_forgotten_and_no_more() {
        let mut queue = ReportQueue::default();
        (1..=5).for_each(|seq| assert_eq!(queue.push(report(seq, 100)), Lost::default()));
        assert_eq!(queue.forget(3), 3);
        assert_eq!(queue.forget(3), 0);
        assert_eq!((seqs(&queue.oldest(9, 999)), queue.size()), (vec![4, 5], (2, 200)));
    }

    #[test]
    fn beyond_the_bound_the_oldest_go_and_are_counted() {
        let mut queue = ReportQueue::default();
        let third = MAX_BYTES / 3;
        (1..=3).for_each(|seq| assert_eq!(queue.push(report(seq, third)), Lost::default()));
        assert_eq!(queue.push(report(4, third)), Lost { reports: 1, log_lines: 10 });
        assert_eq!(seqs(&queue.oldest(9, usize::MAX)), [2, 3, 4]);
        assert_eq!(queue.push(report(5, 2 * MAX_BYTES)), Lost { reports: 3, log_lines: 30 });
        assert_eq!(seqs(&queue.oldest(9, usize::MAX)), [5]);
    }
}
