//! Several reports into one: what is kept of a long outage when the spool fills.
//!
//! Deltas add up to the same sums by minute, and every log line and change of state stays. What is
//! lost is the time within the minute.

use std::collections::BTreeMap;

use systole_shared::limits::MAX_LOG_LINES_PER_REPORT;
use systole_shared::{ComponentReport, Counter, LogLine, PipelineReport, PipelineSample, Report, SeqRange, Text};

/// What a line takes in JSON beside its text.
const LINE_OVERHEAD_BYTES: usize = 72;

/// Two reports of one boot as one, `next` being the one behind `first`; see [`can_merge`].
pub(super) fn merge<'a>(first: Report<'a>, next: Report<'a>) -> Report<'a> {
    let from = first.covers.map_or(first.seq, |covers| covers.from);
    let seconds = |report: &Report<'_>| report.end.saturating_sub(report.start).max(1) as f64;
    let (first_weight, next_weight) = (seconds(&first), seconds(&next));
    let mut earlier: BTreeMap<Text<'a>, PipelineReport<'a>> =
        first.pipelines.into_iter().map(|pipeline| (pipeline.id.clone(), pipeline)).collect();
    let pipelines = next
        .pipelines
        .into_iter()
        .map(|pipeline| match earlier.remove(&pipeline.id) {
            Some(before) => merge_pipelines(before, pipeline, first_weight, next_weight),
            None => pipeline,
        })
        .collect();
    Report {
        seq: next.seq,
        start: first.start.min(next.start),
        end: next.end,
        agent: next.agent.or(first.agent),
        host: match (next.host, first.host) {
            (Some(next), Some(first)) => Some(next.or(&first)),
            (next, first) => next.or(first),
        },
        pipelines,
        covers: Some(SeqRange { from, to: next.seq }),
        deployments: next.deployments,
    }
}

/// Whether two reports can be one: in one minute, with the same pipelines in the same states for the
/// same reasons (a change of either keeps its own time), and with lines that one report may carry, in number and bytes.
/// Without lines they can always: a report must not stay alone because the first one has many.
pub(super) fn can_merge(one: &Report<'_>, other: &Report<'_>, max_line_bytes: usize) -> bool {
    let state = |pipeline: &PipelineReport<'_>| {
        let reason = pipeline.reason.as_ref().map(|reason| reason.as_str().to_owned());
        (pipeline.id.as_str().to_owned(), pipeline.status.as_str().to_owned(), reason)
    };
    let states = |report: &Report<'_>| report.pipelines.iter().map(state).collect::<Vec<_>>();
    let lines = |report: &Report<'_>| report.pipelines.iter().map(|pipeline| pipeline.logs.len()).sum::<usize>();
    let line_bytes = |report: &Report<'_>| -> usize {
        let of_pipelines = report.pipelines.iter().flat_map(|pipeline| &pipeline.logs);
        of_pipelines.map(|line| line.line.as_str().len() + LINE_OVERHEAD_BYTES).sum()
    };
    let fits = lines(other) == 0 || line_bytes(one) + line_bytes(other) <= max_line_bytes;
    fits && one.end.div_euclid(60_000) == other.end.div_euclid(60_000)
        && lines(one) + lines(other) <= MAX_LOG_LINES_PER_REPORT
        && states(one) == states(other)
}

fn merge_pipelines<'a>(
    before: PipelineReport<'a>,
    after: PipelineReport<'a>,
    before_weight: f64,
    after_weight: f64,
) -> PipelineReport<'a> {
    let sample = match (before.sample, after.sample) {
        (Some(before), Some(after)) => Some(merge_samples(before, after, before_weight, after_weight)),
        (one, other) => one.or(other),
    };
    let mut logs: Vec<LogLine<'a>> = before.logs;
    logs.extend(after.logs);
    PipelineReport {
        // With a sample the error of another interval says nothing any more.
        scrape_error: if sample.is_some() { None } else { after.scrape_error.or(before.scrape_error) },
        sample,
        components: merge_components(before.components, after.components, before_weight, after_weight),
        logs,
        logs_dropped: before.logs_dropped.saturating_add(after.logs_dropped),
        topology: after.topology.or(before.topology),
        ..after
    }
}

fn add(one: Counter, other: Counter) -> Counter {
    match (one.get(), other.get()) {
        (Ok(one), Ok(other)) => Counter::new(one.unsigned_abs().saturating_add(other.unsigned_abs())),
        // A value that the collector refuses stays one, so that it is refused there and logged.
        (Err(_), _) => one,
        (_, Err(_)) => other,
    }
}

fn mean(one: Option<f64>, other: Option<f64>, one_weight: f64, other_weight: f64) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one * one_weight + other * other_weight) / (one_weight + other_weight)),
        (one, other) => one.or(other),
    }
}

fn merge_samples(
    before: PipelineSample,
    after: PipelineSample,
    before_weight: f64,
    after_weight: f64,
) -> PipelineSample {
    PipelineSample {
        events_in: add(before.events_in, after.events_in),
        events_out: add(before.events_out, after.events_out),
        errors: add(before.errors, after.errors),
        discarded: add(before.discarded, after.discarded),
        bytes_in: add(before.bytes_in, after.bytes_in),
        bytes_out: add(before.bytes_out, after.bytes_out),
        utilization: mean(before.utilization, after.utilization, before_weight, after_weight),
        latency_ms: mean(before.latency_ms, after.latency_ms, before_weight, after_weight),
        reset: before.reset || after.reset,
    }
}

fn merge_components<'a>(
    before: Vec<ComponentReport<'a>>,
    after: Vec<ComponentReport<'a>>,
    before_weight: f64,
    after_weight: f64,
) -> Vec<ComponentReport<'a>> {
    let mut merged: BTreeMap<Text<'a>, ComponentReport<'a>> =
        before.into_iter().map(|component| (component.id.clone(), component)).collect();
    for component in after {
        let id = component.id.clone();
        let sum = match merged.remove(&id) {
            Some(known) => merge_component(&known, component, before_weight, after_weight),
            None => component,
        };
        merged.insert(id, sum);
    }
    merged.into_values().collect()
}

fn merge_component<'a>(
    before: &ComponentReport<'a>,
    after: ComponentReport<'a>,
    before_weight: f64,
    after_weight: f64,
) -> ComponentReport<'a> {
    let add_known = |one: Option<Counter>, other: Option<Counter>| match (one, other) {
        (Some(one), Some(other)) => Some(add(one, other)),
        (one, other) => one.or(other),
    };
    ComponentReport {
        received_events: add(before.received_events, after.received_events),
        sent_events: add(before.sent_events, after.sent_events),
        received_bytes: add_known(before.received_bytes, after.received_bytes),
        sent_bytes: add_known(before.sent_bytes, after.sent_bytes),
        errors: add(before.errors, after.errors),
        discarded: add(before.discarded, after.discarded),
        latency_ms: mean(before.latency_ms, after.latency_ms, before_weight, after_weight),
        utilization: mean(before.utilization, after.utilization, before_weight, after_weight),
        buffer_events: after.buffer_events.or(before.buffer_events),
        buffer_max_events: after.buffer_max_events.or(before.buffer_max_events),
        buffer_bytes: after.buffer_bytes.or(before.buffer_bytes),
        buffer_max_bytes: after.buffer_max_bytes.or(before.buffer_max_bytes),
        ..after
    }
}
