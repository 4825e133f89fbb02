//! Sample reports, good ones. Bad ones are made out of their JSON.

use systole_shared::{
    ComponentKind, ComponentReport, Counter, LogLevel, LogLine, LogStream, PipelineReport, PipelineSample, Report,
    Text, UnixMillis,
};

use crate::stub::totals::Counts;

/// Length of a report's interval.
pub const INTERVAL_MS: i64 = 5_000;

/// A report that ends at `end`.
pub fn report(seq: u64, end: UnixMillis, pipelines: Vec<PipelineReport<'static>>) -> Report<'static> {
    Report {
        seq,
        start: end - INTERVAL_MS,
        end,
        agent: None,
        host: None,
        pipelines,
        covers: None,
        deployments: Vec::new(),
    }
}

/// A pipeline in a state, without a sample.
pub fn pipeline(id: &str, status: &str) -> PipelineReport<'static> {
    PipelineReport {
        id: text(id),
        name: None,
        version: None,
        status: text(status),
        reason: None,
        pid: None,
        started_at: None,
        restarts: 0,
        config_checksum: None,
        sample: None,
        scrape_error: None,
        components: Vec::new(),
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    }
}

/// A running pipeline that counted this much, with a source and a sink that agree with it.
pub fn running(id: &str, counts: Counts) -> PipelineReport<'static> {
    PipelineReport { sample: Some(sample(counts)), components: components(counts), ..pipeline(id, "RUNNING") }
}

/// The same with lines on standard error.
pub fn with_lines(
    pipeline: PipelineReport<'static>,
    at: UnixMillis,
    lines: impl IntoIterator<Item = String>,
) -> PipelineReport<'static> {
    let logs = lines
        .into_iter()
        .map(|line| LogLine { at, stream: LogStream::Stderr, level: Some(LogLevel::Info), line: Text::from(line) })
        .collect();
    PipelineReport { logs, ..pipeline }
}

/// Counts in which every field has a different value.
pub fn distinct_counts(factor: u64) -> Counts {
    Counts {
        events_in: 500 * factor,
        events_out: 490 * factor,
        errors: 3 * factor,
        discarded: 7 * factor,
        bytes_in: 51_200 * factor,
        bytes_out: 50_100 * factor,
    }
}

fn sample(counts: Counts) -> PipelineSample {
    PipelineSample {
        events_in: Counter::new(counts.events_in),
        events_out: Counter::new(counts.events_out),
        errors: Counter::new(counts.errors),
        discarded: Counter::new(counts.discarded),
        bytes_in: Counter::new(counts.bytes_in),
        bytes_out: Counter::new(counts.bytes_out),
        utilization: Some(0.43),
        latency_ms: Some(1.2),
        reset: false,
    }
}

fn components(counts: Counts) -> Vec<ComponentReport<'static>> {
    let component = |id: &str, kind, received: u64, sent: u64| ComponentReport {
        id: text(id),
        kind,
        received_events: Counter::new(received),
        sent_events: Counter::new(sent),
        received_bytes: None,
        sent_bytes: None,
        errors: Counter::default(),
        discarded: Counter::default(),
        latency_ms: None,
        utilization: None,
        buffer_events: None,
        buffer_max_events: None,
        buffer_bytes: None,
        buffer_max_bytes: None,
    };
    vec![
        ComponentReport {
            received_bytes: Some(Counter::new(counts.bytes_in)),
            ..component("in", ComponentKind::Source, counts.events_in, counts.events_in)
        },
        ComponentReport {
            sent_bytes: Some(Counter::new(counts.bytes_out)),
            errors: Counter::new(counts.errors),
            discarded: Counter::new(counts.discarded),
            utilization: Some(0.43),
            ..component("out", ComponentKind::Sink, counts.events_in, counts.events_out)
        },
    ]
}

/// A text of the wire.
pub fn text(text: &str) -> Text<'static> {
    Text::from(text.to_owned())
}
