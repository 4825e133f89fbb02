//! Logs nodes that become silent and return.
//!
//! A committed change only: what a failed transaction held is applied again, and would be logged twice.

use systole_shared::NodeStatus;

use super::changes::PresenceChange;

/// Lines of one transaction. A switch that fails takes a thousand nodes along, and their names are in the API.
const MAX_LINES: usize = 20;

/// One line per node, and one for all that are too many.
pub(super) fn write(changes: &[PresenceChange]) {
    for PresenceChange { node, name, from, to, reason } in changes.iter().take(MAX_LINES) {
        match to {
            NodeStatus::Unreachable => tracing::warn!(%node, %name, %reason, "node is unreachable"),
            NodeStatus::Offline => tracing::info!(%node, %name, %reason, "node is offline"),
            status => tracing::info!(%node, %name, %status, was = %from, "node is back"),
        }
    }
    let rest = changes.iter().skip(MAX_LINES);
    let gone = rest.clone().filter(|change| change.to.is_silent()).count();
    let back = rest.count() - gone;
    if gone + back > 0 {
        tracing::warn!(gone, back, "more nodes are unreachable, offline or back; GET /api/v1/nodes lists them");
    }
}
