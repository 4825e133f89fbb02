//! The state of a node, derived from those of its pipelines.
//!
//! The status change of a refused report has the time of its arrival: its own times are what is wrong with it.

use systole_shared::events::{Event, EventType, FleetStatus, StatusChange};
use systole_shared::{NodeStatus, UnixMillis};

use super::Context;
use super::progress::has_duplicate_identity;
use crate::ingest::changes::{Changes, PresenceChange};
use crate::ingest::state::NodeState;
use crate::model::Payload;

/// The node's own state after a report.
pub(super) fn set_status(node: &mut NodeState, at: UnixMillis, context: &Context, changes: &mut Changes) {
    changes.heartbeat(node.key).last_seen_at = Some(context.received_at);
    let unwell = node
        .pipelines
        .iter()
        .filter(|(_, pipeline)| pipeline.is_present() && pipeline.status.degrades_node())
        .min_by_key(|(id, _)| *id);
    let (status, reason) = if has_duplicate_identity(node) {
        (NodeStatus::Degraded, "duplicate identity".to_owned())
    } else if let Some((id, pipeline)) = unwell {
        (NodeStatus::Degraded, format!("pipeline {id} is {}", pipeline.status))
    } else {
        let reason = match node.status {
            NodeStatus::Unknown | NodeStatus::Unrecognized => "first report",
            NodeStatus::Unreachable | NodeStatus::Offline => "reports again",
            NodeStatus::Healthy | NodeStatus::Degraded => "every pipeline is well",
        };
        (NodeStatus::Healthy, reason.to_owned())
    };
    // HEALTHY has no reason that a person needs to know of.
    if status == NodeStatus::Degraded && node.status == status {
        change_node_reason(node, &reason, at, context, changes);
    }
    change_node_status(node, status, &reason, at, changes);
}

/// A new reason of the same state.
fn change_node_reason(node: &mut NodeState, reason: &str, at: UnixMillis, context: &Context, changes: &mut Changes) {
    if node.reason.try_publish(reason, context.received_at) {
        add_node_event(node, node.status, reason, at, changes);
    }
    if node.status_reason != reason {
        changes.node(node.key).status_reason = Some(reason.to_owned());
        reason.clone_into(&mut node.status_reason);
    }
}

pub(super) fn change_node_status(
    node: &mut NodeState,
    to: NodeStatus,
    reason: &str,
    at: UnixMillis,
    changes: &mut Changes,
) {
    if node.status == to {
        return;
    }
    add_node_event(node, to, reason, at, changes);
    if node.status.is_silent() || to.is_silent() {
        changes.presences.push(PresenceChange {
            node: node.id,
            name: node.name.clone(),
            from: node.status,
            to,
            reason: reason.to_owned(),
        });
    }
    let change = changes.node(node.key);
    change.status = Some(to.as_str().to_owned());
    change.status_reason = Some(reason.to_owned());
    change.status_since = Some(at);
    node.status = to;
    node.status_since = at;
    reason.clone_into(&mut node.status_reason);
    node.reason.publish(reason);
}

fn add_node_event(node: &NodeState, to: NodeStatus, reason: &str, at: UnixMillis, changes: &mut Changes) {
    let event = Event::StatusChange(StatusChange {
        node_id: node.id,
        node_name: Some(node.name.clone()),
        pipeline_id: None,
        pipeline_name: None,
        from_status: node.status.as_str().to_owned(),
        to_status: to.as_str().to_owned(),
        reason: reason.to_owned(),
        timestamp: at,
    });
    changes.add_event(at, (node.key, node.id, node.environment), None, EventType::StatusChange, &event);
}

pub(super) fn add_fleet_status(node: &NodeState, at: UnixMillis, changes: &mut Changes) {
    let status = FleetStatus {
        node_id: node.id,
        status: node.status,
        timestamp: at,
        pipelines_running: node.pipelines_running(),
    };
    changes.add_news((node.id, node.environment), None, EventType::FleetStatus, Payload::Fleet(status));
}
