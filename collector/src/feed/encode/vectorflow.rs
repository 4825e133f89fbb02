//! Events in VectorFlow's form, for `/api/sse`: one `metric_update` per component, lines without their
//! times, and `pipeline_status` for a step of a version on a node. Dashboards of that system read these. Ids and
//! control events are our own, and they ignore them. Events of taps go to the client that asked for the tap, on its own
//! stream, and `git_sync_status` has no source here.
//!
//! The stream has ids, resume and control events too; dashboards of VectorFlow ignore them. A
//! `metric_update` becomes one event per component, and the last of them has the id. A pipeline without
//! components has no metrics in this form.

use bytes::Bytes;
use serde::Serialize;
use systole_shared::events::{Deployment, Event, MetricUpdate};
use systole_shared::{ComponentId, DeploymentPhase, NodeId, PipelineId, RateSample, UnixMillis};

use super::block;
use crate::model::Payload;

/// The first bytes of a stream.
pub(super) const CONNECTED: &[u8] = b": connected\n\n";

/// Sent while nothing else is.
pub(super) const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// The rates of one component.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentUpdate<'a> {
    r#type: &'static str,
    node_id: NodeId,
    pipeline_id: &'a PipelineId,
    component_id: &'a ComponentId,
    sample: &'a RateSample,
}

/// Lines of a pipeline.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lines<'a> {
    r#type: &'static str,
    node_id: NodeId,
    pipeline_id: &'a PipelineId,
    lines: Vec<&'a str>,
}

/// A step of a version on a node.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PipelineStatus<'a> {
    r#type: &'static str,
    pipeline_id: &'a PipelineId,
    action: &'static str,
    message: String,
    timestamp: UnixMillis,
    /// More than that system has.
    node_id: NodeId,
}

const PIPELINE_STATUS: &str = "pipeline_status";

/// The step in that system's words, as far as it has one.
fn action(phase: DeploymentPhase) -> &'static str {
    match phase {
        DeploymentPhase::Pending | DeploymentPhase::Validating | DeploymentPhase::Starting => "deploying",
        DeploymentPhase::Healthy => "deployed",
        DeploymentPhase::Rejected | DeploymentPhase::RolledBack => "deploy_failed",
        DeploymentPhase::Paused => "paused",
        DeploymentPhase::Removed => "undeployed",
    }
}

fn message(step: &Deployment) -> String {
    let phase = format!("version {} is {} on node {}", step.version, step.phase.as_str(), step.node_id);
    if step.reason.is_empty() { phase } else { format!("{phase}: {}", step.reason) }
}

/// The frames of an event; the last has `id`. None where a pipeline has no components.
pub(super) fn render(id: Option<(&str, u64)>, kind: &str, payload: &Payload) -> Bytes {
    match payload {
        Payload::Metrics(update) => render_components(id, kind, update),
        Payload::Totals(_) => Bytes::new(),
        Payload::Fleet(_) => block(id, kind, &payload.to_json()),
        Payload::Text(text) => render_text(id, kind, text),
    }
}

/// The same for an event as it is kept.
pub(super) fn render_text(id: Option<(&str, u64)>, kind: &str, text: &str) -> Bytes {
    match serde_json::from_str(text) {
        Ok(Event::LogEntry(entry)) => {
            let lines = entry.entries.iter().map(|entry| entry.line.as_str()).collect();
            let lines = Lines { r#type: "log_entry", node_id: entry.node_id, pipeline_id: &entry.pipeline_id, lines };
            block(id, kind, &to_json(&lines))
        }
        Ok(Event::Deployment(step)) => {
            let status = PipelineStatus {
                r#type: PIPELINE_STATUS,
                pipeline_id: &step.pipeline_id,
                action: action(step.phase),
                message: message(&step),
                timestamp: step.timestamp,
                node_id: step.node_id,
            };
            block(id, PIPELINE_STATUS, &to_json(&status))
        }
        // That system has no such event.
        Ok(Event::Alert(_)) => Bytes::new(),
        // A change of status has that form already.
        _ => block(id, kind, text),
    }
}

fn render_components(id: Option<(&str, u64)>, kind: &str, update: &MetricUpdate) -> Bytes {
    let mut text = Vec::new();
    for (index, component) in update.components.iter().enumerate() {
        let last = index + 1 == update.components.len();
        let data = to_json(&ComponentUpdate {
            r#type: "metric_update",
            node_id: update.node_id,
            pipeline_id: &update.pipeline_id,
            component_id: &component.component_id,
            sample: &component.sample,
        });
        text.extend_from_slice(&block(id.filter(|_| last), kind, &data));
    }
    text.into()
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the structs have string keys and finite numbers only")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use systole_shared::events::{ComponentSample, LogEntry, LogEntryLine};
    use systole_shared::report::ComponentKind;
    use systole_shared::{LogStream, RateSample};

    use super::*;

    const NODE: NodeId = NodeId(uuid::Uuid::nil());

    const SAMPLE: RateSample = RateSample {
        timestamp: 5,
        received_events_rate: 0.0,
        sent_events_rate: 0.0,
        received_bytes_rate: 0.0,
        sent_bytes_rate: 0.0,
        error_count: 0.0,
        errors_rate: 0.0,
        discarded_rate: 0.0,
        latency_mean_ms: None,
    };

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn components_have_separate_events_and_the_last_has_the_id() {
        let component = |name: &str| ComponentSample {
            component_id: ComponentId::parse(name).unwrap(),
            kind: ComponentKind::Source,
            sample: SAMPLE,
        };
        let update = MetricUpdate {
            node_id: NODE,
            pipeline_id: PipelineId::parse("orders").unwrap(),
            timestamp: 5,
            sample: SAMPLE,
            components: vec![component("in"), component("out")],
        };
        let bytes = render(Some(("e", 7)), "metric_update", &Payload::Metrics(Arc::new(update)));
        let frames: Vec<&str> = text(&bytes).split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 2);
        assert!(frames[0].starts_with("event: metric_update\ndata: {"), "{}", frames[0]);
        assert!(frames[0].contains(r#""componentId":"in""#), "{}", frames[0]);
        assert!(frames[1].starts_with("id: e-7\nevent: metric_update\n"), "{}", frames[1]);
        assert!(frames[1].contains(r#""componentId":"out","sample":{"timestamp":5,"#), "{}", frames[1]);
    }

    #[test]
    fn log_lines_have_no_time_in_vectorflow() {
        let line = |line: &str| LogEntryLine { at: 1, stream: LogStream::Stdout, level: None, line: line.into() };
        let entry = Event::LogEntry(LogEntry {
            node_id: NODE,
            pipeline_id: PipelineId::parse("orders").unwrap(),
            entries: vec![line("a"), line("b")],
        });
        let bytes = render(Some(("e", 8)), "log_entry", &Payload::Text(serde_json::to_string(&entry).unwrap()));
        let expected = "id: e-8\nevent: log_entry\ndata: {\"type\":\"log_entry\",\"nodeId\":\
                        \"00000000-0000-0000-0000-000000000000\",\"pipelineId\":\"orders\",\"lines\":[\"a\",\"b\"]}\n\n";
        assert_eq!(text(&bytes), expected);
    }

    #[test]
    fn step_of_a_version_is_a_pipeline_status() {
        let step = Event::Deployment(Deployment {
            node_id: NODE,
            pipeline_id: PipelineId::parse("orders").unwrap(),
            version: 3,
            phase: DeploymentPhase::RolledBack,
            reason: "it crashed".into(),
            timestamp: 5,
        });
        let bytes = render_text(Some(("e", 9)), "deployment", &serde_json::to_string(&step).unwrap());
        let expected = "id: e-9\nevent: pipeline_status\ndata: {\"type\":\"pipeline_status\",\"pipelineId\":\"orders\",\
                        \"action\":\"deploy_failed\",\"message\":\"version 3 is rolled_back on node \
                        00000000-0000-0000-0000-000000000000: it crashed\",\"timestamp\":5,\
                        \"nodeId\":\"00000000-0000-0000-0000-000000000000\"}\n\n";
        assert_eq!(text(&bytes), expected);
    }

    #[test]
    fn unknown_event_passes_unchanged() {
        assert_eq!(text(&render_text(None, "status_change", "{}")), "event: status_change\ndata: {}\n\n");
    }
}
