//! Adds a sample to its minute, and computes its rates.

use systole_shared::{RateSample, UnixMillis};

use super::ReportWindow;
use crate::ingest::changes::Changes;
use crate::ingest::limits::{HourlyCount, hour_of};
use crate::ingest::state::{ComponentState, Dimensions, PipelineState};
use crate::model::report::{PipelineDeltas, ReportedComponent};
use crate::model::{NodeKey, SeriesKey};
use crate::store::{ComponentMinuteRow, PipelineMinuteRow, SeriesRow};

/// Adds a pipeline's deltas to its minute.
pub(super) fn add_sample(row: &mut PipelineMinuteRow, sample: &PipelineDeltas, at: &ReportWindow) {
    row.add_reported(sample);
    add_mean(&mut row.utilization_sum, &mut row.utilization_weight, sample.utilization, at.ms());
    let events = latency_weight(sample.events_in.max(sample.events_out));
    add_mean(&mut row.latency_sum, &mut row.latency_weight, sample.latency_ms.map(microseconds), events);
    row.samples += 1;
    row.resets += i64::from(sample.reset);
}

/// Adds a value to a weighted mean, if there is one. Whole numbers of small units take less room
/// than fractions of large ones.
fn add_mean(sum: &mut f64, weight: &mut f64, value: Option<f64>, by: f64) {
    if let Some(value) = value {
        *sum += (value * by).round();
        *weight += by;
    }
}

fn microseconds(ms: f64) -> f64 {
    ms * 1_000.0
}

/// A mean over events is weighted by their number; an idle interval counts as one event, so that
/// a pipeline without traffic still shows what it last measured.
fn latency_weight(events: i64) -> f64 {
    events.max(1) as f64
}

/// Adds a component's deltas to its minute.
pub(super) fn add_component_sample(row: &mut ComponentMinuteRow, component: &ReportedComponent, at: &ReportWindow) {
    row.add_reported(component);
    add_mean(&mut row.utilization_sum, &mut row.utilization_weight, component.utilization, at.ms());
    let events = latency_weight(component.received_events.max(component.sent_events));
    add_mean(&mut row.latency_sum, &mut row.latency_weight, component.latency_ms.map(microseconds), events);
    row.samples += 1;
}

/// What is known of a node's series.
pub(super) struct NodeSeries<'a> {
    pub key: NodeKey,
    pub known: &'a mut usize,
    pub new: &'a mut HourlyCount,
}

/// Returns the key of a component's series, if it has a history. Creates a new series if needed.
pub(super) fn component_series(
    node: &mut NodeSeries<'_>,
    pipeline: &mut PipelineState,
    component: &ReportedComponent,
    now: UnixMillis,
    dimensions: &mut Dimensions,
    changes: &mut Changes,
) -> Option<SeriesKey> {
    if let Some(known) = pipeline.components.get_mut(&component.id) {
        known.seen_hour = hour_of(now);
        known.has_place = known.has_place || dimensions.places.take(node.key);
        if !known.has_place {
            dimensions.over_limit.components += 1;
            return None;
        }
        return Some(known.series);
    }
    let limits = &dimensions.limits;
    let may_be_new = *node.known < limits.series_per_node && node.new.has_room(now, limits.new_series_per_node);
    if !may_be_new || !dimensions.places.take(node.key) {
        dimensions.over_limit.components += 1;
        return None;
    }
    node.new.add(now);
    *node.known += 1;
    let series = dimensions.next_series();
    let state = ComponentState { series, has_place: true, seen_hour: hour_of(now) };
    pipeline.components.insert(component.id.clone(), state);
    changes.series.push(SeriesRow {
        id: series.0,
        node: node.key.0,
        pipeline: pipeline.row.pipeline,
        component: component.id.to_string(),
        kind: component.kind.as_str().to_owned(),
    });
    Some(series)
}

/// Three decimals are finer than any chart, and half the bytes of a float written out.
fn per_second(delta: i64, at: &ReportWindow) -> f64 {
    (delta as f64 / at.seconds * 1_000.0).round() / 1_000.0
}

/// A pipeline's sample per second.
pub(super) fn pipeline_rates(sample: &PipelineDeltas, at: &ReportWindow) -> RateSample {
    RateSample {
        timestamp: at.end,
        received_events_rate: per_second(sample.events_in, at),
        sent_events_rate: per_second(sample.events_out, at),
        received_bytes_rate: per_second(sample.bytes_in, at),
        sent_bytes_rate: per_second(sample.bytes_out, at),
        error_count: sample.errors as f64,
        errors_rate: per_second(sample.errors, at),
        discarded_rate: per_second(sample.discarded, at),
        latency_mean_ms: sample.latency_ms,
    }
}

/// A component's sample per second.
pub(super) fn component_rates(component: &ReportedComponent, at: &ReportWindow) -> RateSample {
    RateSample {
        timestamp: at.end,
        received_events_rate: per_second(component.received_events, at),
        sent_events_rate: per_second(component.sent_events, at),
        received_bytes_rate: per_second(component.received_bytes.unwrap_or(0), at),
        sent_bytes_rate: per_second(component.sent_bytes.unwrap_or(0), at),
        error_count: component.errors as f64,
        errors_rate: per_second(component.errors, at),
        discarded_rate: per_second(component.discarded, at),
        latency_mean_ms: component.latency_ms,
    }
}
