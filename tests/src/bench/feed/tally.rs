//! What the subscribers counted in a part of a run.

use hdrhistogram::Histogram;

/// Longest latency that is distinguished.
const MAX_LATENCY_US: u64 = 120_000_000;

/// Counts of the subscribers since the last call.
#[derive(Clone, Debug)]
pub struct LoadTally {
    /// From just before a report was sent until a line of it was read.
    pub lines_us: Histogram<u64>,
    /// The same of events that may wait; their time has milliseconds only.
    pub conflated_us: Histogram<u64>,
    /// Bytes, with HTTP's own.
    pub bytes: u64,
    /// Times that something was read.
    pub reads: u64,
    /// Pings.
    pub pings: u64,
    /// Ranges of events that were announced not to come.
    pub gaps: u64,
    /// Ids that the collector did not take.
    pub resets: u64,
    /// Streams that the collector closed with a word.
    pub goodbyes: u64,
    /// Streams that the generator did not end.
    pub closes: u64,
    /// Streams that were put off or refused.
    pub refusals: u64,
    /// Ids that did not grow.
    pub disorder: u64,
    /// Lines that came twice.
    pub doubles: u64,
}

impl LoadTally {
    /// Nothing yet.
    pub fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are in order");
        LoadTally {
            lines_us: histogram(),
            conflated_us: histogram(),
            bytes: 0,
            reads: 0,
            pings: 0,
            gaps: 0,
            resets: 0,
            goodbyes: 0,
            closes: 0,
            refusals: 0,
            disorder: 0,
            doubles: 0,
        }
    }

    /// Events that were read.
    pub fn deliveries(&self) -> u64 {
        self.lines_us.len() + self.conflated_us.len()
    }
}

impl Default for LoadTally {
    fn default() -> Self {
        Self::new()
    }
}
