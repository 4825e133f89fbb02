//! What a run measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart.
const MAX_LATENCY_US: u64 = 120_000_000;

/// What one node, or the whole fleet, counted.
#[derive(Debug)]
pub struct Tally {
    latencies_us: Histogram<u64>,
    /// Reports made.
    pub reports: u64,
    /// Bytes of the bodies before packing, repetitions included.
    pub bytes_plain: u64,
    /// Bytes of the bodies as sent, repetitions included.
    pub bytes_sent: u64,
    /// Events in all acknowledged reports.
    pub events_in: u64,
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
            reports: 0,
            bytes_plain: 0,
            bytes_sent: 0,
            events_in: 0,
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
        self.reports += other.reports;
        self.bytes_plain += other.bytes_plain;
        self.bytes_sent += other.bytes_sent;
        self.events_in += other.events_in;
        self.refused += other.refused;
        for (kind, count) in &other.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
    }

    /// Reports acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.latencies_us.len()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// The outcome of a run, for programs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `closed` or `open`.
    pub mode: String,
    /// Nodes in the fleet.
    pub nodes: usize,
    /// Pipelines of each.
    pub pipelines: usize,
    /// Components of each pipeline.
    pub components: usize,
    /// Log lines per pipeline and report.
    pub lines: usize,
    /// From the first report to the last acknowledgement.
    pub seconds: f64,
    /// Reports acknowledged.
    pub acknowledged: u64,
    /// Per second.
    pub reports_per_second: f64,
    /// Per second.
    pub pipelines_per_second: f64,
    /// Mean size of a body before packing.
    pub bytes_per_report: f64,
    /// Mean size of a body as sent.
    pub packed_bytes_per_report: f64,
    /// Items refused.
    pub refused: u64,
    /// Requests without a good answer.
    pub failures: BTreeMap<String, u64>,
    /// Until the acknowledgement, milliseconds.
    pub latency_ms: BTreeMap<&'static str, f64>,
    /// Of the collector, when it was started by the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorCost>,
}

/// What the collector itself used.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorCost {
    /// Seconds of processor time during the run.
    pub cpu_seconds: f64,
    /// Resident memory at its highest.
    pub peak_memory_bytes: u64,
    /// Size of the database with its log.
    pub database_bytes: u64,
    /// Whether the minutes sum up to what was acknowledged.
    pub sums_are_exact: bool,
}

impl Outcome {
    /// Figures out of the fleet's counts.
    pub fn of(args: &super::args::Args, tally: &Tally, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let acknowledged = tally.acknowledged();
        let requests = (acknowledged + tally.failures.values().sum::<u64>()).max(1) as f64;
        let percentile = |percent: f64| tally.latencies_us.value_at_quantile(percent / 100.0) as f64 / 1_000.0;
        Outcome {
            mode: format!("{:?}", args.mode).to_lowercase(),
            nodes: args.nodes,
            pipelines: args.pipelines,
            components: args.components,
            lines: args.lines,
            seconds,
            acknowledged,
            reports_per_second: acknowledged as f64 / seconds,
            pipelines_per_second: acknowledged as f64 / seconds * args.pipelines as f64,
            bytes_per_report: tally.bytes_plain as f64 / requests,
            packed_bytes_per_report: tally.bytes_sent as f64 / requests,
            refused: tally.refused,
            failures: tally.failures.clone(),
            latency_ms: BTreeMap::from([
                ("p50", percentile(50.0)),
                ("p90", percentile(90.0)),
                ("p99", percentile(99.0)),
                ("p99.9", percentile(99.9)),
                ("max", percentile(100.0)),
            ]),
            collector: None,
        }
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        let mut rows = vec![
            (
                "fleet".to_owned(),
                format!(
                    "{} nodes × {} pipelines × {} components, {} loop, {:.1} s",
                    self.nodes, self.pipelines, self.components, self.mode, self.seconds
                ),
            ),
            (
                "reports".to_owned(),
                format!(
                    "{} acknowledged, {:.0}/s ({:.0} pipelines/s)",
                    self.acknowledged, self.reports_per_second, self.pipelines_per_second
                ),
            ),
            (
                "body".to_owned(),
                format!("{:.0} bytes, {:.0} packed", self.bytes_per_report, self.packed_bytes_per_report),
            ),
        ];
        for name in ["p50", "p90", "p99", "p99.9", "max"] {
            rows.push((name.to_owned(), format!("{:.1} ms", self.latency_ms[name])));
        }
        rows.push(("refused".to_owned(), self.refused.to_string()));
        rows.extend(self.failures.iter().map(|(kind, count)| (format!("failed: {kind}"), count.to_string())));
        if let Some(cost) = &self.collector {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            rows.push((
                "processor".to_owned(),
                format!("{:.1} s, {:.0} %", cost.cpu_seconds, cost.cpu_seconds / self.seconds * 100.0),
            ));
            rows.push(("memory".to_owned(), format!("{:.0} MiB at most", mib(cost.peak_memory_bytes))));
            rows.push(("database".to_owned(), format!("{:.0} MiB", mib(cost.database_bytes))));
            rows.push(("sums".to_owned(), if cost.sums_are_exact { "exact" } else { "WRONG" }.to_owned()));
        }
        rows.iter().map(|(name, value)| format!("{name:>18}  {value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn figures_are_those_of_the_whole_fleet() {
        let args = super::super::args::Args::try_parse_from(["systole-bench", "--spawn", "--pipelines", "10"]).unwrap();
        let mut fleet = Tally::new();
        for node in 1..=100 {
            let mut tally = Tally::new();
            tally.bytes_plain = 1_000;
            tally.record(Duration::from_millis(node));
            fleet.add(&tally);
        }
        fleet.fail("503");
        let outcome = Outcome::of(&args, &fleet, Duration::from_secs(2));
        assert_eq!(
            (outcome.acknowledged, outcome.reports_per_second, outcome.pipelines_per_second),
            (100, 50.0, 500.0)
        );
        assert!((outcome.latency_ms["p50"] - 50.0).abs() < 0.1 && (outcome.latency_ms["max"] - 100.0).abs() < 0.1);
        assert_eq!(outcome.failures["503"], 1);
    }
}
