//! What log lines take on the disk, by node.
//!
//! Measured in samples: exact sums would be read from every line, or kept up to date with each commit. The
//! sequence is cut into equal parts and some lines are read in each. A few lines are all read.

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use rand::RngExt;

use crate::model::NodeKey;

/// Samples of a measurement: the share of a node that has a twentieth is known to a hundredth. They are
/// read in some 100 ms.
const SAMPLES: i64 = 2_000;

/// Numbers of the sequence in a sample; lines that are read together anyway.
pub(super) const SAMPLE: i64 = 64;

/// Bytes of a line beside its text: its row, its place in the table's index, and in that of searches.
const LINE_BYTES: u64 = 80;

/// A node has more than its share of lines with this many times the mean…
const SHARES: f64 = 1.5;

/// …if that is at least this part of all lines: a node with less does not fill a disk.
const LEAST_PART: f64 = 0.05;

/// Estimated bytes of log lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogUsage {
    pub lines: u64,
    pub bytes: u64,
    pub by_node: Vec<(NodeKey, u64)>,
}

/// Lines of a node that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EvictedLogs {
    pub removed: u64,
    /// The position to continue at; `None` at the end.
    pub next: Option<i64>,
}

/// A node in the samples.
#[derive(Clone, Debug, QueryableByName)]
pub(super) struct Sampled {
    #[diesel(sql_type = BigInt)]
    pub node: i64,
    #[diesel(sql_type = BigInt)]
    pub lines: i64,
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

/// Where samples begin, and how many lines stand for one of theirs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    pub starts: Vec<i64>,
    scale: f64,
}

impl Samples {
    /// Of the lines from `first` to `last`.
    pub(super) fn of(first: i64, last: i64) -> Self {
        let numbers = last - first + 1;
        if numbers <= SAMPLES * SAMPLE {
            let starts = (0..(numbers + SAMPLE - 1) / SAMPLE).map(|number| first + number * SAMPLE).collect();
            return Samples { starts, scale: 1.0 };
        }
        let part = numbers / SAMPLES;
        let mut random = rand::rng();
        let starts = (0..SAMPLES).map(|number| first + number * part + random.random_range(0..=part - SAMPLE));
        Samples { starts: starts.collect(), scale: part as f64 / SAMPLE as f64 }
    }

    /// The estimate of all lines from the samples.
    pub(super) fn usage(&self, sampled: &[Sampled]) -> LogUsage {
        let scaled = |value: i64| (value as f64 * self.scale) as u64;
        let bytes = |row: &Sampled| scaled(row.bytes) + scaled(row.lines) * LINE_BYTES;
        LogUsage {
            lines: sampled.iter().map(|row| scaled(row.lines)).sum(),
            bytes: sampled.iter().map(bytes).sum(),
            by_node: sampled.iter().map(|row| (NodeKey(row.node), bytes(row))).collect(),
        }
    }
}

impl LogUsage {
    /// The node with the most lines, if it has more than its share, and how many lines too many it has.
    pub(crate) fn above_share(&self) -> Option<(NodeKey, u64)> {
        let (node, most) = self.by_node.iter().max_by_key(|(_, bytes)| *bytes)?;
        let (most, all, nodes) = (*most as f64, self.bytes as f64, self.by_node.len() as f64);
        // With them removed it has just its share of the rest. Of one node all lines are its share.
        let excess = (most * nodes - all * SHARES) / (nodes - SHARES);
        let is_above = nodes > SHARES && excess > 0.0 && most >= all * LEAST_PART;
        is_above.then(|| (*node, (excess / self.line_bytes()).ceil() as u64))
    }

    fn line_bytes(&self) -> f64 {
        (self.bytes as f64 / self.lines.max(1) as f64).max(1.0)
    }

    /// Lines that must be removed for the rest to have `bytes`.
    pub(crate) fn lines_above(&self, bytes: u64) -> u64 {
        (self.bytes.saturating_sub(bytes) as f64 / self.line_bytes()).ceil() as u64
    }

    /// Takes removed lines of a node into account.
    pub(crate) fn removed(&mut self, node: NodeKey, lines: u64) {
        let bytes = (lines as f64 * self.line_bytes()) as u64;
        self.lines = self.lines.saturating_sub(lines);
        self.bytes = self.bytes.saturating_sub(bytes);
        for (_, own) in self.by_node.iter_mut().filter(|(key, _)| *key == node) {
            *own = own.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_are_all_read_and_many_in_parts() {
        assert_eq!(Samples::of(7, 7 + 2 * SAMPLE), Samples { starts: vec![7, 7 + SAMPLE, 7 + 2 * SAMPLE], scale: 1.0 });
        let last = 1_000 * SAMPLES * SAMPLE;
        let samples = Samples::of(1, last);
        assert_eq!((samples.starts.len() as i64, samples.scale), (SAMPLES, 1_000.0));
        let inside = samples.starts.windows(2).all(|pair| pair[0] + SAMPLE <= pair[1]);
        assert!(inside && samples.starts[0] >= 1 && samples.starts.last().unwrap() + SAMPLE <= last + 1);
        let usage = samples.usage(&[Sampled { node: 3, lines: 10, bytes: 200 }]);
        assert_eq!((usage.lines, usage.bytes), (10_000, 200_000 + 10_000 * LINE_BYTES));
    }

    #[test]
    fn share_of_a_node_is_exceeded_by_one_that_has_most_of_the_lines() {
        let usage = |bytes: &[u64]| LogUsage {
            lines: 100,
            bytes: bytes.iter().sum(),
            by_node: bytes.iter().enumerate().map(|(node, bytes)| (NodeKey(node as i64), *bytes)).collect(),
        };
        assert_eq!(usage(&[]).above_share(), None);
        assert_eq!(usage(&[900]).above_share(), None, "there is no other node to protect");
        assert_eq!(usage(&[10, 90]).above_share(), Some((NodeKey(1), 60)), "30 of 40 stay");
        assert_eq!(usage(&[40, 60]).above_share(), None);
        assert_eq!(usage(&[10; 100]).above_share(), None);
        let mut flood = usage(&[10, 10, 980]);
        assert_eq!(flood.lines_above(500), 50);
        flood.removed(NodeKey(2), 98);
        assert_eq!((flood.above_share(), flood.bytes), (None, 20));
    }
}
