//! What a run measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::{Args, Loop};
use super::tally::Tally;

/// The reported percentiles of latencies.
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// The outcome of a run, for programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `closed` or `open`.
    pub mode: String,
    /// `SQLite` or `PostgreSQL`; none of a collector that was running already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Of the open loop: between two reports of a node, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Nodes in the fleet.
    pub nodes: usize,
    /// Of these, so many that speak VectorFlow's protocol.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vectorflow_nodes: usize,
    /// Pipelines of each.
    pub pipelines: usize,
    /// Components of each pipeline.
    pub components: usize,
    /// Log lines per pipeline and report.
    pub lines: usize,
    /// What enrolling the fleet took.
    pub enrolment_seconds: f64,
    /// Before the measurement.
    pub warm_up_seconds: u64,
    /// From the first measured report to the last acknowledgement.
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
    /// Requests without a good answer, those of the warm-up included.
    pub failures: BTreeMap<String, u64>,
    /// Nodes whose last report had no good response until the end: it may or may not have been counted.
    pub given_up: u64,
    /// Until the acknowledgement, milliseconds.
    pub latency_ms: BTreeMap<String, f64>,
    /// Seconds of processor time that the fleet took, which shares the machine with the collector.
    pub generator_cpu_seconds: f64,
    /// Of a run with push streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<PushCount>,
    /// Of the collector, when it was started by the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorCost>,
}

/// What the collector itself used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorCost {
    /// Seconds of processor time during the run.
    pub cpu_seconds: f64,
    /// Resident memory at the end.
    pub memory_bytes: u64,
    /// Resident memory at its highest.
    pub peak_memory_bytes: u64,
    /// Size of the database with its log.
    pub database_bytes: u64,
    /// Of that, after a clean end, a pipeline's minute on a node takes so much.
    pub bytes_per_pipeline_minute: f64,
    /// And a component's.
    pub bytes_per_component_minute: f64,
    /// Whether the minutes sum up to what was acknowledged.
    pub sums_are_exact: bool,
    /// What its own counters in /metrics grew by during the measurement.
    pub metrics: BTreeMap<String, f64>,
}

/// Figures of a run besides the fleet's counts.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Of the enrolment.
    pub enrolment: Duration,
    /// Of the measurement.
    pub elapsed: Duration,
    /// Seconds of processor time of this process.
    pub generator_cpu_seconds: f64,
    /// Of a run with push streams.
    pub push: Option<PushCount>,
}

/// Push streams at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushCount {
    /// Streams that were open.
    pub open: u64,
    /// Streams that had ended.
    pub ended: u64,
    /// Bytes that came.
    pub bytes: u64,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Outcome {
    /// Figures out of the fleet's counts.
    pub fn of(args: &Args, tally: &Tally, course: Course) -> Self {
        let seconds = course.elapsed.as_secs_f64();
        let acknowledged = tally.acknowledged();
        let requests = tally.requests.max(1) as f64;
        let latency = |(name, percent): (&str, f64)| (name.to_owned(), tally.percentile_ms(percent));
        Outcome {
            mode: format!("{:?}", args.mode).to_lowercase(),
            database: args.spawn.then(|| if args.postgres { "PostgreSQL" } else { "SQLite" }.to_owned()),
            interval_ms: (args.mode == Loop::Open).then_some(args.interval_ms),
            nodes: args.nodes,
            vectorflow_nodes: args.vectorflow_nodes,
            pipelines: args.pipelines,
            components: args.components,
            lines: args.lines,
            enrolment_seconds: course.enrolment.as_secs_f64(),
            warm_up_seconds: args.warm_up,
            seconds,
            acknowledged,
            push: course.push,
            reports_per_second: acknowledged as f64 / seconds,
            pipelines_per_second: acknowledged as f64 / seconds * args.pipelines as f64,
            bytes_per_report: tally.bytes_plain as f64 / requests,
            packed_bytes_per_report: tally.bytes_sent as f64 / requests,
            refused: tally.refused,
            failures: tally.failures.clone(),
            given_up: tally.given_up,
            latency_ms: PERCENTILES.into_iter().map(latency).collect(),
            generator_cpu_seconds: course.generator_cpu_seconds,
            collector: None,
        }
    }

    /// What people read, by name.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let pace = match self.interval_ms {
            Some(ms) => format!("every {:.1} s", ms as f64 / 1e3),
            None => "as fast as acknowledged".to_owned(),
        };
        let Outcome { nodes, pipelines, components, lines, .. } = self;
        let lines = if *lines > 0 { format!(" + {lines} lines") } else { String::new() };
        let of_vectorflow = match self.vectorflow_nodes {
            0 => String::new(),
            all if all == *nodes => " of VectorFlow's protocol".to_owned(),
            some => format!(" ({some} of VectorFlow's protocol)"),
        };
        row(
            "fleet",
            format!("{nodes} nodes{of_vectorflow} × {pipelines} pipelines × {components} components{lines}, {pace}"),
        );
        row("time", format!("{:.1} s, after {} s of warm-up", self.seconds, self.warm_up_seconds));
        row("enrolment", format!("{:.1} s", self.enrolment_seconds));
        row(
            "reports",
            format!(
                "{} acknowledged, {:.0}/s ({:.0} pipelines/s)",
                self.acknowledged, self.reports_per_second, self.pipelines_per_second
            ),
        );
        row("body", format!("{:.0} bytes, {:.0} packed", self.bytes_per_report, self.packed_bytes_per_report));
        for (name, _) in PERCENTILES {
            row(name, format!("{:.1} ms", self.latency_ms.get(name).copied().unwrap_or_default()));
        }
        row("refused", self.refused.to_string());
        self.failures.iter().for_each(|(kind, count)| row(&format!("failed: {kind}"), count.to_string()));
        if self.given_up > 0 {
            row("given up", format!("{} reports, counted or not", self.given_up));
        }
        if let Some(PushCount { open, ended, bytes }) = self.push {
            row("push streams", format!("{open} open, {ended} ended, {bytes} bytes"));
        }
        let cpu = |seconds: f64| format!("{seconds:.1} s, {:.0} % of a core", seconds / self.seconds * 100.0);
        row("generator", cpu(self.generator_cpu_seconds));
        if let Some(cost) = &self.collector {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            row("collector", cpu(cost.cpu_seconds));
            row(
                "memory",
                format!("{:.0} MiB at the end, {:.0} at most", mib(cost.memory_bytes), mib(cost.peak_memory_bytes)),
            );
            row(
                "database",
                format!("{:.0} MiB on {}", mib(cost.database_bytes), self.database.as_deref().unwrap_or("?")),
            );
            row(
                "on disk",
                format!(
                    "{:.0} bytes a pipeline-minute, {:.0} a component-minute",
                    cost.bytes_per_pipeline_minute, cost.bytes_per_component_minute
                ),
            );
            let metric = |name: &str| cost.metrics.get(name).copied();
            if let (Some(count), Some(seconds), Some(rows)) = (
                metric("systole_commits_total"),
                metric("systole_commit_seconds_sum"),
                metric("systole_rows_written_total"),
            ) {
                let mean_ms = seconds / count.max(1.0) * 1e3;
                row("commits", format!("{count:.0}, {mean_ms:.1} ms each, {rows:.0} rows"));
            }
            row("sums", if cost.sums_are_exact { "exact" } else { "WRONG" }.to_owned());
        }
        rows
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        self.rows().iter().map(|(name, value)| format!("{name:>18}  {value}\n")).collect()
    }

    /// The same in Markdown.
    pub fn markdown(&self) -> String {
        let lines: String = self.rows().iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
        format!("| | |\n|---|---|\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn outcome_sums_the_whole_fleet() {
        let args = Args::try_parse_from(["systole-bench", "--spawn", "--pipelines", "10"]).unwrap();
        let mut fleet = Tally::new();
        for node in 1..=100 {
            let mut tally = Tally::new();
            (tally.requests, tally.bytes_plain) = (1, 1_000);
            tally.record(Duration::from_millis(node));
            fleet.add(&tally);
        }
        fleet.fail("503");
        let course = Course {
            enrolment: Duration::from_secs(1),
            elapsed: Duration::from_secs(2),
            generator_cpu_seconds: 0.5,
            push: None,
        };
        let outcome = Outcome::of(&args, &fleet, course);
        assert_eq!(
            (outcome.acknowledged, outcome.reports_per_second, outcome.pipelines_per_second),
            (100, 50.0, 500.0)
        );
        assert!((outcome.latency_ms["p50"] - 50.0).abs() < 0.1 && (outcome.latency_ms["max"] - 100.0).abs() < 0.1);
        assert_eq!((outcome.failures["503"], outcome.bytes_per_report), (1, 1_000.0));
        assert!(outcome.markdown().contains("| generator | 0.5 s, 25 % of a core |"), "{}", outcome.markdown());
        // As `report` reads it.
        let json = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap().rows(), outcome.rows());
    }
}
