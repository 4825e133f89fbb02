//! One pipeline of a report.
//!
//! - Counters are accepted up to 2^63-1, and rows saturate there.
//! - A report without `sample` counts as a gap only with `scrapeError`: a pipeline without metrics has
//!   no gaps.

use std::sync::Arc;

use systole_shared::events::{ComponentSample, EventType, MetricUpdate};
use systole_shared::{PipelineId, PipelineStatus, RefusalCode, Refused};

use super::ReportWindow;
use super::ledger::count_reports;
use super::log_lines::add_logs;
use super::pipeline_status::update_status;
use super::samples::{NodeSeries, add_component_sample, add_sample, component_rates, component_series, pipeline_rates};
use crate::ingest::changes::Changes;
use crate::ingest::limits::describe;
use crate::ingest::reason::PublishedReason;
use crate::ingest::state::{Dimensions, NodeState, PipelineState};
use crate::model::live::LiveSample;
use crate::model::report::{Refusals, ReportedComponent, ReportedPipeline};
use crate::model::{Payload, PendingSample, PipelineKey, Throughput};
use crate::store::{PipelineRow, PipelineStatusRow, SeriesRow};

pub(super) fn apply_pipeline(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    facts: ReportedPipeline,
    at: &ReportWindow,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    if !register(node, dimensions, (&facts.id, facts.name.as_ref()), at, changes, refusals) {
        return;
    }
    let identity = (node.key, node.id, node.environment);
    let Some(pipeline) = node.pipelines.get_mut(&facts.id) else { return };
    pipeline.last_report = node.reports;
    let key = PipelineKey(pipeline.row.pipeline);

    let was_present = pipeline.is_present();
    if at.is_news {
        keep_sample(pipeline, &facts, at);
    }
    add_logs(identity, (key, &facts.id), &facts.logs, at, changes);
    update_status((identity, &node.name), pipeline, &facts, dimensions, at, changes);

    if facts.sample.is_some() || facts.scrape_error.is_some() || facts.logs_dropped > 0 {
        let row = changes.bucket(at.minute, node.key).pipeline(pipeline.series);
        row.logs_dropped = row.logs_dropped.saturating_add(facts.logs_dropped);
        match &facts.sample {
            Some(sample) => add_sample(row, sample, at),
            None => row.gaps += i64::from(facts.scrape_error.is_some()),
        }
    }
    if facts.sample.is_some() || facts.scrape_error.is_some() {
        count_reports(node.key, pipeline.series, was_present, at, changes);
    }
    if let (Some(topology), Some(checksum)) = (&facts.topology, &facts.config_checksum) {
        dimensions.topologies.add(key, checksum, topology, at.received_at, changes);
    }
    let Some(sample) = &facts.sample else { return };
    changes.events_in = changes.events_in.saturating_add(sample.events_in.unsigned_abs());
    let mut known = NodeSeries { key: node.key, known: &mut node.known_series, new: &mut node.new_series };
    let series: Vec<_> = facts
        .components
        .iter()
        .map(|component| component_series(&mut known, pipeline, component, at.received_at, dimensions, changes))
        .collect();
    let bucket = changes.bucket(at.minute, node.key);
    bucket.buffer_fills.extend(fullest_buffer(&facts.components).map(|fill| (pipeline.series.0, fill)));
    for (component, series) in facts.components.iter().zip(series) {
        if let Some(series) = series {
            add_component_sample(bucket.component(series), component, at);
        }
    }
    let components = facts.components.into_iter().map(|component| ComponentSample {
        sample: component_rates(&component, at),
        kind: component.kind,
        component_id: component.id,
    });
    let update = Arc::new(MetricUpdate {
        node_id: node.id,
        pipeline_id: facts.id,
        timestamp: at.end,
        sample: pipeline_rates(sample, at),
        components: components.collect(),
    });
    if at.is_news {
        let payload = Payload::Metrics(Arc::clone(&update));
        changes.add_news((node.id, node.environment), Some(&update.pipeline_id), EventType::MetricUpdate, payload);
    }
    changes.samples.push(PendingSample { node: node.key, update });
}

/// Keeps the sample for lists. A pipeline whose metrics cannot be read, or that does not run, has none.
fn keep_sample(pipeline: &mut PipelineState, facts: &ReportedPipeline, at: &ReportWindow) {
    match &facts.sample {
        Some(sample) => {
            let throughput = Throughput::of_sample(sample, at.seconds);
            pipeline.sample = Some(LiveSample { at: at.end, throughput });
        }
        None if facts.scrape_error.is_some() || !facts.status.is_running() => pipeline.sample = None,
        None => {}
    }
}

/// How full the fullest buffer of a pipeline is, 0 to 1; `None` when no buffer has a bound.
fn fullest_buffer(components: &[ReportedComponent]) -> Option<f32> {
    let part = |held: Option<i64>, most: Option<i64>| match (held, most) {
        (Some(held), Some(most)) if most > 0 => Some(held as f32 / most as f32),
        _ => None,
    };
    let fills = components.iter().filter_map(|component| {
        part(component.buffer_events, component.buffer_max_events)
            .or_else(|| part(component.buffer_bytes, component.buffer_max_bytes))
    });
    fills.reduce(f32::max)
}

/// Makes sure that the pipeline has keys on this node. False when that is over a limit: then it is refused.
pub(super) fn register(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    pipeline: (&PipelineId, Option<&String>),
    at: &ReportWindow,
    changes: &mut Changes,
    refusals: &mut Refusals,
) -> bool {
    let registered = try_register(node, dimensions, pipeline, at, changes);
    if let Err(code) = registered {
        refusals.push_with(|| Refused {
            seq: at.seq,
            pipeline_id: Some(pipeline.0.to_string()),
            component_id: None,
            code,
            detail: describe(code, &dimensions.limits),
        });
    }
    registered.is_ok()
}

fn try_register(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    (id, name): (&PipelineId, Option<&String>),
    at: &ReportWindow,
    changes: &mut Changes,
) -> Result<(), RefusalCode> {
    let is_new = !node.pipelines.contains_key(id);
    if is_new && !node.has_room(&dimensions.limits, at.received_at) {
        dimensions.over_limit.node_pipelines += 1;
        return Err(RefusalCode::NodePipelineLimit);
    }
    let key = match dimensions.pipeline(node.environment, id) {
        Some(known) => {
            if let Some(name) = name.filter(|name| **name != known.name) {
                known.name.clone_from(name);
                changes.pipeline_names.insert(known.key, name.clone());
            }
            known.key
        }
        None => {
            if !dimensions.has_room(node.environment, at.received_at) {
                dimensions.over_limit.environment_pipelines += 1;
                return Err(RefusalCode::EnvironmentPipelineLimit);
            }
            dimensions.count_new_pipeline(node.environment, at.received_at);
            let name = name.cloned().unwrap_or_else(|| id.to_string());
            let key = dimensions.add_pipeline(node.environment, id, &name);
            changes.pipelines.push(PipelineRow {
                id: key.0,
                environment: node.environment.0,
                slug: id.to_string(),
                name,
            });
            key
        }
    };
    if is_new {
        node.new_pipelines.add(at.received_at);
        let series = dimensions.next_series();
        changes.series.push(SeriesRow {
            id: series.0,
            node: node.key.0,
            pipeline: key.0,
            component: String::new(),
            kind: "pipeline".to_owned(),
        });
        let row = PipelineStatusRow {
            node: node.key.0,
            pipeline: key.0,
            status: PipelineStatus::Unknown.as_str().to_owned(),
            status_text: None,
            reason: String::new(),
            since: at.end,
            version: None,
            pid: None,
            started_at: None,
            restarts: 0,
            config_checksum: None,
            scrape_error: None,
            present: 0,
            reported_at: at.end,
        };
        let state = PipelineState {
            series,
            status: PipelineStatus::Unknown,
            row,
            reason: PublishedReason::new(""),
            components: Default::default(),
            last_report: 0,
            sample: None,
        };
        node.pipelines.insert(id.clone(), state);
    }
    Ok(())
}
