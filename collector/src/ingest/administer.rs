//! Applies what an administrator does to a node. Pure, like `apply`.
//!
//! Each change is a durable status change with the node's own state and a reason, so that a dashboard that was away
//! learns of it like of anything else, once. The last event of a removed node says REMOVED.

use systole_shared::UnixMillis;
use systole_shared::events::{Event, EventType, StatusChange};
use systole_shared::limits::{MAX_LABELS, MAX_LABELS_BYTES};

use super::changes::Changes;
use super::state::{Dimensions, NodeState};
use crate::clock::to_rfc3339;
use crate::model::PipelineKey;
use crate::model::node::{Labels, NodeSettings, NodeUpdate};
use crate::store::{NodeRemoval, NodeSettingsRow};

/// The state of a node or pipeline in its last event.
pub(crate) const REMOVED: &str = "REMOVED";

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("a node has at most {MAX_LABELS} labels of at most {MAX_LABELS_BYTES} bytes together")]
    TooManyLabels,
}

/// Changes settings of a node. Returns what was changed, for people; empty when everything was so already.
pub(crate) fn change(
    node: &mut NodeState,
    update: &NodeUpdate,
    now: UnixMillis,
    changes: &mut Changes,
) -> Result<Vec<String>, ChangeError> {
    let settings = node.settings.updated(update);
    let labels = settings.labels_over(&node.reported_labels);
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if update.labels.is_some() && (labels.len() > MAX_LABELS || bytes > MAX_LABELS_BYTES) {
        return Err(ChangeError::TooManyLabels);
    }
    let mut reasons = Vec::new();
    let name = settings.name.clone().unwrap_or_else(|| node.reported_name.clone());
    if name != node.name {
        reasons.push(format!("renamed from {} to {name}", node.name));
    }
    reasons.extend(label_changes(&node.labels(), &labels));
    reasons.extend(maintenance_change(&node.settings, &settings));
    if settings == node.settings {
        return Ok(reasons);
    }
    node.name = name;
    node.settings = settings;
    changes.set_settings(NodeSettingsRow::new(node.key, &node.settings));
    for reason in &reasons {
        add_event(node, node.status.as_str(), reason, now, changes);
    }
    Ok(reasons)
}

/// Ends a maintenance whose time is over. Returns whether it is.
pub(crate) fn end_maintenance(node: &mut NodeState, now: UnixMillis, changes: &mut Changes) -> bool {
    let is_over = node.settings.maintenance.as_ref().is_some_and(|maintenance| maintenance.until <= now);
    if is_over {
        node.settings.maintenance = None;
        changes.set_settings(NodeSettingsRow::new(node.key, &node.settings));
        add_event(node, node.status.as_str(), "maintenance ended", now, changes);
    }
    is_over
}

/// Removes a node: its last events, and everything else of it after them. The places of its components are free.
pub(crate) fn remove(node: &NodeState, dimensions: &mut Dimensions, now: UnixMillis, changes: &mut Changes) {
    let reason = "removed by an administrator";
    let identity = (node.key, node.id, node.environment);
    let mut placed = 0;
    let mut pipelines: Vec<_> = node.pipelines.iter().collect();
    pipelines.sort_by_key(|(id, _)| (*id).clone());
    for (id, pipeline) in pipelines {
        placed += pipeline.placed();
        if !pipeline.is_present() {
            continue;
        }
        let event = Event::StatusChange(StatusChange {
            node_id: node.id,
            node_name: Some(node.name.clone()),
            pipeline_id: Some(id.clone()),
            pipeline_name: dimensions.pipeline(node.environment, id).map(|known| known.name.clone()),
            from_status: pipeline.status.as_str().to_owned(),
            to_status: REMOVED.to_owned(),
            reason: "its node was removed".to_owned(),
            timestamp: now,
        });
        let key = PipelineKey(pipeline.row.pipeline);
        changes.add_event(now, identity, Some((key, id)), EventType::StatusChange, &event);
    }
    dimensions.places.give_back(node.key, placed);
    add_event(node, REMOVED, reason, now, changes);
    changes.remove_node(node.id, NodeRemoval { node: node.key, labels: node.labels(), at: now });
}

fn label_changes(before: &Labels, after: &Labels) -> Option<String> {
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let set = set.map(|(key, value)| format!("{key}={value}"));
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| format!("{key} removed"));
    let changed: Vec<_> = set.chain(gone).collect();
    (!changed.is_empty()).then(|| format!("labels changed: {}", changed.join(", ")))
}

fn maintenance_change(before: &NodeSettings, after: &NodeSettings) -> Option<String> {
    if before.maintenance == after.maintenance {
        return None;
    }
    Some(match &after.maintenance {
        None => "maintenance ended".to_owned(),
        Some(maintenance) => {
            let note = maintenance.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            format!("maintenance until {}{note}", to_rfc3339(maintenance.until))
        }
    })
}

fn add_event(node: &NodeState, to: &str, reason: &str, at: UnixMillis, changes: &mut Changes) {
    let event = Event::StatusChange(StatusChange {
        node_id: node.id,
        node_name: Some(node.name.clone()),
        pipeline_id: None,
        pipeline_name: None,
        from_status: node.status.as_str().to_owned(),
        to_status: to.to_owned(),
        reason: reason.to_owned(),
        timestamp: at,
    });
    changes.add_event(at, (node.key, node.id, node.environment), None, EventType::StatusChange, &event);
}
