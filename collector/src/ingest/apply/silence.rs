//! A node that is not observed.
//!
//! - A node that is UNREACHABLE or OFFLINE has UNKNOWN pipelines: their processes are not observed. They
//!   become what the node's next report says.
//! - A report that says why the agent stops makes the node OFFLINE. Not one that comes late: by then another
//!   agent may run.

use systole_shared::events::{Event, EventType, StatusChange};
use systole_shared::{NodeStatus, PipelineStatus, UnixMillis};

use super::node_status::{add_fleet_status, change_node_status};
use crate::ingest::changes::Changes;
use crate::ingest::state::{Dimensions, NodeState};
use crate::model::{PipelineKey, Throughput};

/// The node did not report for three intervals.
pub(crate) fn mark_unreachable(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reason: &str,
    now: UnixMillis,
    changes: &mut Changes,
) {
    // The watchdog looks every second, and a batch may have waited longer than that.
    if node.status.is_silent() && !node.has_stale_pipelines() {
        return;
    }
    let silent = if node.status == NodeStatus::Offline {
        Silence::offline(reason, now)
    } else {
        Silence { status: NodeStatus::Unreachable, reason, pipelines: "node unreachable", at: now }
    };
    silence(node, dimensions, &silent, changes);
    add_fleet_status(node, now, changes);
}

/// The agent said that it stops.
pub(super) fn mark_offline(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reason: &str,
    at: UnixMillis,
    changes: &mut Changes,
) {
    silence(node, dimensions, &Silence::offline(reason, at), changes);
}

/// The reason why a node is silent.
struct Silence<'a> {
    status: NodeStatus,
    reason: &'a str,
    /// The reason of its pipelines' state.
    pipelines: &'static str,
    at: UnixMillis,
}

impl<'a> Silence<'a> {
    fn offline(reason: &'a str, at: UnixMillis) -> Self {
        Silence { status: NodeStatus::Offline, reason, pipelines: "node offline", at }
    }
}

/// The state of the node and its pipelines becomes unknown. What they reported last (version, process id)
/// stays in their rows.
fn silence(node: &mut NodeState, dimensions: &mut Dimensions, silence: &Silence<'_>, changes: &mut Changes) {
    change_node_status(node, silence.status, silence.reason, silence.at, changes);
    node.throughput = Throughput::default();
    node.host = None;
    let identity = (node.key, node.id, node.environment);
    for (id, pipeline) in &mut node.pipelines {
        pipeline.sample = None;
        let is_known = pipeline.status != PipelineStatus::Unknown || pipeline.row.status_text.is_some();
        if !pipeline.is_present() || (!is_known && pipeline.row.reason == silence.pipelines) {
            continue;
        }
        let event = Event::StatusChange(StatusChange {
            node_id: identity.1,
            node_name: Some(node.name.clone()),
            pipeline_id: Some(id.clone()),
            pipeline_name: dimensions.pipeline(identity.2, id).map(|known| known.name.clone()),
            from_status: pipeline.status.as_str().to_owned(),
            to_status: PipelineStatus::Unknown.as_str().to_owned(),
            reason: silence.pipelines.to_owned(),
            timestamp: silence.at,
        });
        let key = PipelineKey(pipeline.row.pipeline);
        changes.add_event(silence.at, identity, Some((key, id)), EventType::StatusChange, &event);
        pipeline.status = PipelineStatus::Unknown;
        pipeline.reason.publish(silence.pipelines);
        pipeline.row.status = PipelineStatus::Unknown.as_str().to_owned();
        pipeline.row.status_text = None;
        pipeline.row.reason = silence.pipelines.to_owned();
        pipeline.row.since = silence.at;
        changes.set_status(pipeline.row.clone());
    }
}
