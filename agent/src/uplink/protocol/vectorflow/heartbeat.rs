//! The body of a heartbeat, made of a report and the totals. Pure.

use std::collections::BTreeMap;

use systole_shared::vectorflow::{
    AgentHealth, Heartbeat, HeartbeatComponent, HeartbeatPipeline, HostMetrics, MAX_CHECKSUM_CHARS,
    MAX_UPDATE_ERROR_CHARS, MAX_VERSION_CHARS,
};
use systole_shared::{
    ComponentKind, ComponentReport, Counter, PipelineReport, PipelineStatus, Report, Text, UnixMillis,
};

use super::ledger::{Ledger, PipelineTotals};

/// What a heartbeat has beside the report.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Labels of the cloud. The node's own win.
    pub(super) labels: BTreeMap<String, String>,
    /// Why the last update of the agent failed.
    pub(super) update_error: Option<String>,
    pub(super) poll_errors: u64,
    pub(super) push_reconnects: u64,
    pub(super) heartbeat_errors: u64,
    pub(super) push_connected: bool,
}

/// The heartbeat of a report: all of its pipelines that are `included`.
pub(super) fn heartbeat_of<'a>(
    report: &'a Report<'_>,
    ledger: &Ledger,
    extras: &'a Extras,
    included: impl Fn(&str) -> bool,
) -> Heartbeat<'a> {
    let agent = report.agent.as_ref();
    let short = |text: Option<&'a Text<'_>>| text.map(|text| cut(text.as_str(), MAX_VERSION_CHARS));
    let included = report.pipelines.iter().filter(|pipeline| included(pipeline.id.as_str()));
    let running = |pipeline: &&PipelineReport<'_>| PipelineStatus::from_wire(pipeline.status.as_str()).is_running();
    Heartbeat {
        pipelines: included
            .map(|pipeline| pipeline_of(pipeline, ledger.totals(pipeline.id.as_str()), report.end))
            .collect(),
        host_metrics: report.host.as_ref().map(host_of),
        agent_version: short(agent.and_then(|agent| agent.version.as_ref())),
        vector_version: short(agent.and_then(|agent| agent.vector_version.as_ref())),
        deployment_mode: agent.and_then(|agent| agent.deployment_mode.as_ref()).map(borrowed),
        running_as: short(agent.and_then(|agent| agent.running_as.as_ref())),
        sample_results: None,
        update_error: extras.update_error.as_deref().map(|text| cut(text, MAX_UPDATE_ERROR_CHARS)),
        labels: agent.map(|agent| {
            let cloud = extras.labels.iter().map(|(name, value)| (text(name), text(value)));
            let own = agent.labels.iter().map(|(name, value)| (borrowed(name), borrowed(value)));
            cloud.chain(own).collect()
        }),
        agent_health: agent.map(|agent| AgentHealth {
            poll_errors_total: extras.poll_errors,
            push_reconnects_total: extras.push_reconnects,
            heartbeat_errors_total: extras.heartbeat_errors,
            push_connected: extras.push_connected,
            pipelines_running: report.pipelines.iter().filter(running).count() as u64,
            uptime_seconds: agent.health.uptime_seconds,
        }),
    }
}

fn pipeline_of<'a>(
    pipeline: &'a PipelineReport<'_>,
    totals: Option<&PipelineTotals>,
    now: UnixMillis,
) -> HeartbeatPipeline<'a> {
    let counts = totals.map(PipelineTotals::counts);
    let total = |count: Option<u64>| count.map(Counter::new);
    let uptime = pipeline.started_at.filter(|_| pipeline.pid.is_some());
    HeartbeatPipeline {
        pipeline_id: borrowed(&pipeline.id),
        version: pipeline.version.unwrap_or(0).max(0),
        status: status_of(pipeline.status.as_str()).into(),
        pid: pipeline.pid,
        uptime_seconds: uptime.map(|started_at| u64::try_from((now - started_at) / 1_000).unwrap_or(0)),
        events_in: total(counts.map(|counts| counts.events_in)),
        events_out: total(counts.map(|counts| counts.events_out)),
        errors_total: total(counts.map(|counts| counts.errors)),
        bytes_in: total(counts.map(|counts| counts.bytes_in)),
        bytes_out: total(counts.map(|counts| counts.bytes_out)),
        events_discarded: total(counts.map(|counts| counts.discarded)),
        utilization: pipeline.sample.and_then(|sample| sample.utilization),
        component_metrics: totals
            .filter(|_| pipeline.sample.is_some())
            .map(|totals| pipeline.components.iter().map(|component| component_of(component, totals)).collect()),
        recent_logs: None,
        config_checksum: pipeline.config_checksum.as_ref().map(|sum| cut(sum.as_str(), MAX_CHECKSUM_CHARS)),
    }
}

fn component_of<'a>(component: &'a ComponentReport<'_>, totals: &PipelineTotals) -> HeartbeatComponent<'a> {
    let counts = totals.component(component.id.as_str());
    HeartbeatComponent {
        component_id: borrowed(&component.id),
        component_kind: match component.kind {
            // A kind that the server does not have is none of its ends.
            ComponentKind::Unknown => ComponentKind::Transform.as_str().into(),
            known => known.as_str().into(),
        },
        received_events: Counter::new(counts.received_events),
        sent_events: Counter::new(counts.sent_events),
        received_bytes: counts.received_bytes.map(Counter::new),
        sent_bytes: counts.sent_bytes.map(Counter::new),
        errors_total: Some(Counter::new(counts.errors)),
        discarded_events: Some(Counter::new(counts.discarded)),
        latency_mean_seconds: component.latency_ms.map(|millis| millis / 1_000.0),
    }
}

/// The server refuses a whole heartbeat with another state than these five.
fn status_of(status: &str) -> &'static str {
    match PipelineStatus::from_wire(status) {
        PipelineStatus::Running | PipelineStatus::Degraded => "RUNNING",
        PipelineStatus::Starting => "STARTING",
        PipelineStatus::Stopped => "STOPPED",
        PipelineStatus::Crashed | PipelineStatus::CrashLoop => "CRASHED",
        PipelineStatus::Pending | PipelineStatus::Unknown => "PENDING",
    }
}

fn host_of(host: &systole_shared::HostMetrics) -> HostMetrics {
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    HostMetrics {
        memory_total_bytes: bytes(host.memory_total_bytes),
        memory_used_bytes: bytes(host.memory_used_bytes),
        memory_free_bytes: bytes(host.memory_free_bytes),
        cpu_seconds_total: host.cpu_seconds_total,
        cpu_seconds_idle: host.cpu_seconds_idle,
        load_avg1: host.load_avg_1,
        load_avg5: host.load_avg_5,
        load_avg15: host.load_avg_15,
        fs_total_bytes: bytes(host.fs_total_bytes),
        fs_used_bytes: bytes(host.fs_used_bytes),
        fs_free_bytes: bytes(host.fs_free_bytes),
        disk_read_bytes: bytes(host.disk_read_bytes),
        disk_written_bytes: bytes(host.disk_written_bytes),
        net_rx_bytes: bytes(host.net_rx_bytes),
        net_tx_bytes: bytes(host.net_tx_bytes),
    }
}

fn text(text: &str) -> Text<'_> {
    Text(text.into())
}

fn borrowed<'a>(of: &'a Text<'_>) -> Text<'a> {
    text(of.as_str())
}

/// At most so many characters, as the server counts them: UTF-16 units, so that a character beyond them counts twice.
fn cut(of: &str, max_chars: usize) -> Text<'_> {
    let mut units = 0;
    let end = of.char_indices().find(|(_, letter)| {
        units += letter.len_utf16();
        units > max_chars
    });
    text(end.map_or(of, |(at, _)| &of[..at]))
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
