//! How far the node is with each pipeline that the centre wants on it.
//!
//! - Each change of version or phase is an event, and so is a new reason, as far as [`PublishedReason`] lets it.
//! - A pipeline that a complete list no longer contains is removed from the node.
//! - The time of a change is that of its arrival, by the collector's clock: rollouts compare it with theirs.

use systole_shared::DeploymentPhase;
use systole_shared::events::{Deployment, Event};

use super::{NodeIdentity, ReportWindow};
use crate::ingest::changes::Changes;
use crate::ingest::reason::PublishedReason;
use crate::ingest::state::{DeploymentState, Dimensions, NodeState};
use crate::model::report::ReportedDeployment;
use crate::store::DeploymentRow;

pub(super) fn apply_deployments(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reported: Vec<ReportedDeployment>,
    is_complete: bool,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    // Most nodes have none.
    if reported.is_empty() && node.deployments.is_empty() {
        return;
    }
    let identity = (node.key, node.id, node.environment);
    if is_complete {
        node.deployments.retain(|pipeline, state| {
            let is_there = reported.iter().any(|deployment| deployment.pipeline == *pipeline);
            if !is_there {
                let gone = ReportedDeployment {
                    pipeline: pipeline.clone(),
                    version: state.row.version,
                    phase: DeploymentPhase::Removed,
                    running_version: None,
                    reason: "no longer on the node".to_owned(),
                };
                changes.end_deployment(identity.0, pipeline);
                publish(identity, dimensions, &gone, at, changes);
            }
            is_there
        });
    }
    for deployment in reported {
        match deployment.phase {
            DeploymentPhase::Removed => {
                if node.deployments.remove(&deployment.pipeline).is_some() {
                    changes.end_deployment(identity.0, &deployment.pipeline);
                    publish(identity, dimensions, &deployment, at, changes);
                }
            }
            _ => apply_deployment(node, dimensions, &deployment, at, changes),
        }
    }
}

fn apply_deployment(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    deployment: &ReportedDeployment,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let identity = (node.key, node.id, node.environment);
    let known = node.deployments.get_mut(&deployment.pipeline);
    let phase = deployment.phase.as_str();
    let is_step =
        known.as_ref().is_none_or(|known| known.row.version != deployment.version || known.row.phase != phase);
    let row = DeploymentRow {
        node: node.key.0,
        slug: deployment.pipeline.to_string(),
        version: deployment.version,
        running_version: deployment.running_version,
        phase: phase.to_owned(),
        reason: deployment.reason.clone(),
        since: known
            .as_ref()
            .filter(|known| !is_step && known.row.reason == deployment.reason)
            .map_or(at.received_at, |known| known.row.since),
    };
    match known {
        Some(known) => {
            if known.row == row {
                return;
            }
            let has_new_reason = !is_step && known.reason.try_publish(&deployment.reason, at.received_at);
            if is_step {
                known.reason.publish(&deployment.reason);
            }
            known.row = row.clone();
            if is_step || has_new_reason {
                publish(identity, dimensions, deployment, at, changes);
            }
        }
        None => {
            let state = DeploymentState { row: row.clone(), reason: PublishedReason::new(&deployment.reason) };
            node.deployments.insert(deployment.pipeline.clone(), state);
            publish(identity, dimensions, deployment, at, changes);
        }
    }
    changes.set_deployment(row);
}

fn publish(
    identity: NodeIdentity,
    dimensions: &mut Dimensions,
    deployment: &ReportedDeployment,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let key = dimensions.pipeline(identity.2, &deployment.pipeline).map(|known| known.key);
    let event = Event::Deployment(Deployment {
        node_id: identity.1,
        pipeline_id: deployment.pipeline.clone(),
        version: deployment.version,
        phase: deployment.phase,
        reason: deployment.reason.clone(),
        timestamp: at.end,
    });
    changes.add_deployment_event(at.end, identity, (key, &deployment.pipeline), &event);
}
