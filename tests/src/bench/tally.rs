//! What a node, or the whole fleet, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is distinguished.
const MAX_LATENCY_US: u64 = 120_000_000;

/// Counts of one node or of the whole fleet.
#[derive(Debug)]
pub struct Tally {
    latencies_us: Histogram<u64>,
    /// Requests that were measured, repetitions included.
    pub requests: u64,
    /// Bytes of the bodies before packing, repetitions included.
    pub bytes_plain: u64,
    /// Bytes of the bodies as sent, repetitions included.
    pub bytes_sent: u64,
    /// Events in all acknowledged reports, those of the warm-up included.
    pub events_in: u64,
    /// Nodes whose last report had no good response until the end.
    pub given_up: u64,
    /// Items that the collector refused.
    pub refused: u64,
    /// Requests without a good answer, by status or kind.
    pub failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are in order");
        Tally {
            latencies_us,
            requests: 0,
            bytes_plain: 0,
            bytes_sent: 0,
            events_in: 0,
            given_up: 0,
            refused: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Notes an acknowledgement.
    pub fn record(&mut self, latency: Duration) {
        self.latencies_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_US).max(1));
    }

    /// Notes a request without a good answer.
    pub fn fail(&mut self, kind: &str) {
        *self.failures.entry(kind.to_owned()).or_default() += 1;
    }

    /// Adds another node's counts.
    pub fn add(&mut self, other: &Tally) {
        self.latencies_us.add(&other.latencies_us).expect("the bounds are the same");
        self.requests += other.requests;
        self.bytes_plain += other.bytes_plain;
        self.bytes_sent += other.bytes_sent;
        self.events_in += other.events_in;
        self.given_up += other.given_up;
        self.refused += other.refused;
        for (kind, count) in &other.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
    }

    /// The latency that this percentage does not exceed, milliseconds.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.latencies_us.value_at_quantile(percent / 100.0) as f64 / 1_000.0
    }

    /// Reports acknowledged, without those of the warm-up.
    pub fn acknowledged(&self) -> u64 {
        self.latencies_us.len()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
