//! What an agent says of itself and of its host.

use systole_shared::HostMetrics;

use super::Context;
use crate::ingest::changes::Changes;
use crate::ingest::state::NodeState;
use crate::model::report::{NodeReport, ReportedAgent};
use crate::store::NodeMinuteRow;

pub(super) fn note_agent(node: &mut NodeState, report: &NodeReport, context: &Context, changes: &mut Changes) {
    let heartbeat = changes.heartbeat(node.key);
    heartbeat.last_seen_at = Some(context.received_at);
    // Structs of numbers and strings: they always serialise.
    if let Some(health) = &report.health {
        heartbeat.health = serde_json::to_string(health).ok();
    }
    if let Some(host) = &report.host {
        heartbeat.host = serde_json::to_string(host).ok();
    }
    if context.address.is_some() && node.address != context.address {
        changes.node(node.key).last_address = context.address.map(|address| address.to_string());
        node.address = context.address;
    }
    if let Some(agent) = &report.agent
        && node.agent.as_ref() != Some(agent)
    {
        let change = changes.node(node.key);
        change.name = agent.name.clone();
        change.agent_kind = Some(agent.kind.as_str().to_owned());
        change.agent_version = agent.version.clone();
        change.vector_version = agent.vector_version.clone();
        change.deployment_mode = agent.deployment_mode.clone();
        change.running_as = agent.running_as.clone();
        change.engines = serde_json::to_string(&agent.engines).ok();
        if let Some(labels) = &agent.labels {
            change.labels = serde_json::to_string(labels).ok();
        }
        if list_agent(node, agent) {
            changes.listed_anew.insert(node.key);
        }
        node.agent = Some(agent.clone());
    }
}

/// Keeps what filters and lists use. Returns whether something of it is new.
fn list_agent(node: &mut NodeState, agent: &ReportedAgent) -> bool {
    let mut is_new = false;
    if let Some(name) = agent.name.as_ref().filter(|name| **name != node.reported_name) {
        node.reported_name.clone_from(name);
        // A name that is set at the collector wins.
        node.name = node.settings.name.clone().unwrap_or_else(|| name.clone());
        is_new = true;
    }
    if agent.version.is_some() && node.agent_version != agent.version {
        node.agent_version.clone_from(&agent.version);
        is_new = true;
    }
    if let Some(labels) = agent.labels.as_ref().filter(|labels| **labels != node.reported_labels) {
        node.reported_labels.clone_from(labels);
        is_new = true;
    }
    is_new
}

pub(super) fn node_minute(host: &HostMetrics, minute: i64, node: i64) -> NodeMinuteRow {
    let bytes = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    NodeMinuteRow {
        minute,
        node,
        memory_total_bytes: bytes(host.memory_total_bytes),
        memory_used_bytes: bytes(host.memory_used_bytes),
        memory_free_bytes: bytes(host.memory_free_bytes),
        cpu_seconds_total: finite(host.cpu_seconds_total),
        cpu_seconds_idle: finite(host.cpu_seconds_idle),
        load_avg_1: finite(host.load_avg_1),
        load_avg_5: finite(host.load_avg_5),
        load_avg_15: finite(host.load_avg_15),
        fs_total_bytes: bytes(host.fs_total_bytes),
        fs_used_bytes: bytes(host.fs_used_bytes),
        fs_free_bytes: bytes(host.fs_free_bytes),
        disk_read_bytes: bytes(host.disk_read_bytes),
        disk_written_bytes: bytes(host.disk_written_bytes),
        net_rx_bytes: bytes(host.net_rx_bytes),
        net_tx_bytes: bytes(host.net_tx_bytes),
        samples: 1,
    }
}
