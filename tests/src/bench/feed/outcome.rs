//! What a run of the feed measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::Verdict;
use super::tally::LoadTally;
use crate::bench::args::FeedArgs;
use crate::bench::tally::Tally;

/// Names of its files begin with this.
pub(in crate::bench) const PREFIX: &str = "feed ";

/// The reported percentiles of latencies.
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// Latencies by percentile, milliseconds.
pub type Latencies = BTreeMap<String, f64>;

/// The outcome of a run, for programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedOutcome {
    /// `SQLite` or `PostgreSQL`.
    pub database: String,
    /// Subscribers, each on a separate connection.
    pub subscribers: usize,
    /// Types that they asked for.
    pub types: String,
    /// Conflation period that they asked for.
    pub every_ms: u64,
    /// Events a second that were to be reported; 0 of idle subscribers.
    pub events_per_second: usize,
    /// Readers that stood still in the second part, and those that read little.
    pub stalled: (usize, usize),
    /// Until everyone was connected and placed.
    pub connect_seconds: f64,
    /// Resident memory of the collector before that.
    pub memory_before_bytes: u64,
    /// Growth with the subscribers, for each of them.
    pub memory_per_subscriber_bytes: f64,
    /// The parts of the run, one after the other.
    pub parts: Vec<Part>,
    /// The storm after all were cut at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// Until the collector had closed the stalled subscribers; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_closed_seconds: Option<f64>,
    /// Connections that the collector says it closed for taking nothing.
    pub closed_as_slow: u64,
    /// Lines that were reported during the whole run, each an event for every subscriber.
    pub lines: u64,
    /// Lines that did not reach subscribers without a gap.
    pub lost: u64,
    /// Lines that did not reach subscribers with a gap, and the number of these subscribers.
    pub in_gaps: (u64, u64),
    /// Lines that came twice.
    pub doubles: u64,
    /// Ids that did not grow.
    pub disorder: u64,
    /// Gaps, resets and goodbyes that were received.
    pub notices: (u64, u64, u64),
    /// Connections that ended without the generator's doing, and those that were put off or refused.
    pub closes: (u64, u64),
    /// Reports without a good answer, by status or kind.
    pub failures: BTreeMap<String, u64>,
}

/// A part of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// What it was.
    pub name: String,
    /// Duration.
    pub seconds: f64,
    /// Events that subscribers read.
    pub deliveries: u64,
    /// Per second.
    pub deliveries_per_second: f64,
    /// Bytes per second, with HTTP's own.
    pub bytes_per_second: f64,
    /// Events per read of a socket.
    pub events_per_read: f64,
    /// Pings.
    pub pings: u64,
    /// Of lines, from just before the report was sent.
    pub latency_ms: Latencies,
    /// Of events that may wait.
    pub conflated_ms: Latencies,
    /// Reports until their acknowledgement.
    pub ingest_ms: Latencies,
    /// Processors that the collector used.
    pub collector_cpu: f64,
    /// Processors that the generator used.
    pub generator_cpu: f64,
    /// Resident memory of the collector at the beginning.
    pub memory_before_bytes: u64,
    /// At its highest.
    pub memory_peak_bytes: u64,
}

/// All cut at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storm {
    /// From the cut until everyone has had a line that was sent after it.
    pub all_live_seconds: f64,
    /// Reports meanwhile, until their acknowledgement.
    pub ingest_ms: Latencies,
}

impl Part {
    pub(super) fn of(name: &str, seconds: f64, tally: &LoadTally, ingest: &Tally) -> Self {
        Part {
            name: name.to_owned(),
            seconds,
            deliveries: tally.deliveries(),
            deliveries_per_second: tally.deliveries() as f64 / seconds,
            bytes_per_second: tally.bytes as f64 / seconds,
            events_per_read: tally.deliveries() as f64 / tally.reads.max(1) as f64,
            pings: tally.pings,
            latency_ms: of_histogram(&tally.lines_us),
            conflated_ms: of_histogram(&tally.conflated_us),
            ingest_ms: of_ingest(ingest),
            collector_cpu: 0.0,
            generator_cpu: 0.0,
            memory_before_bytes: 0,
            memory_peak_bytes: 0,
        }
    }
}

/// Empty where there is nothing.
fn of_histogram(histogram: &Histogram<u64>) -> Latencies {
    let of =
        |(name, percent): (&str, f64)| (name.to_owned(), histogram.value_at_quantile(percent / 100.0) as f64 / 1e3);
    if histogram.is_empty() { Latencies::new() } else { PERCENTILES.into_iter().map(of).collect() }
}

/// The same of reports.
pub(super) fn of_ingest(tally: &Tally) -> Latencies {
    let of = |(name, percent): (&str, f64)| (name.to_owned(), tally.percentile_ms(percent));
    if tally.acknowledged() == 0 { Latencies::new() } else { PERCENTILES.into_iter().map(of).collect() }
}

impl FeedOutcome {
    /// Of a run that begins.
    pub(in crate::bench) fn new(args: &FeedArgs) -> Self {
        FeedOutcome {
            database: if args.postgres { "PostgreSQL" } else { "SQLite" }.to_owned(),
            subscribers: args.subscribers,
            types: args.types.clone(),
            every_ms: args.every_ms,
            events_per_second: if args.idle { 0 } else { args.events_per_second },
            stalled: (args.stalled, args.slow),
            connect_seconds: 0.0,
            memory_before_bytes: 0,
            memory_per_subscriber_bytes: 0.0,
            parts: Vec::new(),
            storm: None,
            stalled_closed_seconds: None,
            closed_as_slow: 0,
            lines: 0,
            lost: 0,
            in_gaps: (0, 0),
            doubles: 0,
            disorder: 0,
            notices: (0, 0, 0),
            closes: (0, 0),
            failures: BTreeMap::new(),
        }
    }

    /// Adds what counts for the whole run.
    pub(super) fn absorb(&mut self, tally: &LoadTally, ingest: &Tally) {
        self.doubles += tally.doubles;
        self.disorder += tally.disorder;
        self.notices.0 += tally.gaps;
        self.notices.1 += tally.resets;
        self.notices.2 += tally.goodbyes;
        self.closes.0 += tally.closes;
        self.closes.1 += tally.refusals;
        for (kind, count) in &ingest.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
        if ingest.given_up > 0 {
            *self.failures.entry("given up".to_owned()).or_default() += ingest.given_up;
        }
    }

    /// Adds what everyone had in the end.
    pub(super) fn judge(&mut self, verdict: &Verdict) {
        self.absorb(&verdict.tally, &Tally::new());
        self.lost = verdict.lost;
        self.in_gaps = (verdict.in_gaps, verdict.with_gaps);
    }

    /// Whether every subscriber has every line once and in order, or a gap.
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.doubles == 0 && self.disorder == 0
    }

    /// The rows of the table for people, by name.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let events = match self.events_per_second {
            0 => "no events".to_owned(),
            count => format!("{count} events/s"),
        };
        row(
            "subscribers",
            format!("{} of {}, every={}, {events}, {}", self.subscribers, self.types, self.every_ms, self.database),
        );
        row("connected", format!("in {:.1} s", self.connect_seconds));
        row("memory of a subscriber", format!("{:.1} KB", self.memory_per_subscriber_bytes / 1e3));
        for (number, part) in self.parts.iter().enumerate() {
            // The first part has the plain names, so that runs can be compared.
            let named = |name: &str| if number == 0 { name.to_owned() } else { format!("{}: {name}", part.name) };
            row(&named("time"), format!("{:.1} s", part.seconds));
            if part.deliveries > 0 {
                row(
                    &named("deliveries"),
                    format!(
                        "{}, {:.0}/s, {:.1} MiB/s",
                        part.deliveries,
                        part.deliveries_per_second,
                        mib(part.bytes_per_second)
                    ),
                );
                row(&named("events per read"), format!("{:.1}", part.events_per_read));
            }
            row_of_latencies(&mut row, &named("latency"), &part.latency_ms);
            row_of_latencies(&mut row, &named("latency of conflated"), &part.conflated_ms);
            row_of_latencies(&mut row, &named("ingest"), &part.ingest_ms);
            row(&named("pings"), part.pings.to_string());
            row(&named("collector"), format!("{:.1} % of a core", part.collector_cpu * 100.0));
            row(&named("generator"), format!("{:.1} % of a core", part.generator_cpu * 100.0));
            row(
                &named("memory"),
                format!(
                    "{:.0} MiB, {:.0} at most",
                    mib(part.memory_before_bytes as f64),
                    mib(part.memory_peak_bytes as f64)
                ),
            );
        }
        if let Some(storm) = &self.storm {
            row("all cut, all live again", format!("{:.1} s", storm.all_live_seconds));
            row_of_latencies(&mut row, "ingest meanwhile", &storm.ingest_ms);
        }
        if self.stalled.0 > 0 {
            let closed = self.stalled_closed_seconds.map_or("no".to_owned(), |seconds| format!("after {seconds:.0} s"));
            row("stalled readers closed", closed);
        }
        row("lines", self.lines.to_string());
        let verdict = |is_good: bool, text: String| if is_good { text } else { format!("WRONG: {text}") };
        row("lost", verdict(self.lost == 0, self.lost.to_string()));
        row(
            "doubled, out of order",
            verdict(self.doubles + self.disorder == 0, format!("{}, {}", self.doubles, self.disorder)),
        );
        let (gaps, resets, goodbyes) = self.notices;
        row(
            "notices",
            format!(
                "{gaps} gaps ({} lines of {} subscribers), {resets} resets, {goodbyes} goodbyes",
                self.in_gaps.0, self.in_gaps.1
            ),
        );
        row("connections ended, put off", format!("{}, {}", self.closes.0, self.closes.1));
        self.failures.iter().for_each(|(kind, count)| row(&format!("failed: {kind}"), count.to_string()));
        rows
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        self.rows().iter().map(|(name, value)| format!("{name:>45}  {value}\n")).collect()
    }
}

fn row_of_latencies(row: &mut impl FnMut(&str, String), name: &str, latencies: &Latencies) {
    if latencies.is_empty() {
        return;
    }
    let values: Vec<String> =
        PERCENTILES.iter().filter_map(|(name, _)| Some(format!("{name} {:.1}", latencies.get(*name)?))).collect();
    row(name, format!("{} ms", values.join(", ")));
}
