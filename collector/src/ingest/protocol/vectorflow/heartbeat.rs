//! A heartbeat within its limits.

use systole_shared::limits::{MAX_COMPONENTS_PER_REPORT, MAX_PIPELINES_PER_REPORT};
use systole_shared::vectorflow::{AgentHealth, Heartbeat, HostMetrics};
use systole_shared::{RefusalCode, Refused};

use super::DecodedHeartbeat;
use super::pipeline::{Components, take_pipeline};
use crate::ingest::protocol::labels::take_labels;
use crate::ingest::protocol::seen::Seen;
use crate::ingest::protocol::text::{short, short_option};
use crate::model::AgentKind;
use crate::model::report::{Refusals, ReportedAgent, ReportedDeployments, TotalsOfPipeline, TotalsReport};

/// What the Go agent runs.
const ENGINE: &str = "vector";

/// The pipelines of a heartbeat that are taken.
pub(super) struct Pipelines {
    taken: Vec<TotalsOfPipeline>,
    /// Components that may still come.
    components_left: usize,
    seen: Seen<systole_shared::PipelineId>,
    complete: bool,
}

impl Pipelines {
    /// None yet.
    pub(super) fn new() -> Self {
        Pipelines { taken: Vec::new(), components_left: MAX_COMPONENTS_PER_REPORT, seen: Seen::new(), complete: true }
    }

    /// Takes a pipeline, or refuses it alone.
    pub(super) fn take(
        &mut self,
        pipeline: systole_shared::vectorflow::HeartbeatPipeline<'_>,
        components: Components,
        refusals: &mut Refusals,
    ) {
        let named = pipeline.pipeline_id.clone();
        let fault = match take_pipeline(pipeline, components, &mut self.components_left, refusals) {
            Ok(taken) => {
                if self.seen.add(self.taken.iter().map(|known| &known.pipeline.id), &taken.pipeline.id) {
                    self.taken.push(taken);
                    return;
                }
                (RefusalCode::DuplicateId, "duplicate id: the first in this heartbeat is used".to_owned())
            }
            Err(fault) => fault,
        };
        self.complete = false;
        refusals.push_with(|| Refused {
            seq: 0,
            pipeline_id: Some(short(named.as_str())),
            component_id: None,
            code: fault.0,
            detail: fault.1,
        });
    }

    /// Notes one that was refused before it could be taken.
    pub(super) fn refuse(&mut self, refused: impl FnOnce() -> Refused, refusals: &mut Refusals) {
        self.complete = false;
        refusals.push_with(refused);
    }
}

/// Takes a heartbeat that could be read whole.
pub(super) fn take_heartbeat(mut heartbeat: Heartbeat<'_>) -> DecodedHeartbeat {
    let mut refusals = Refusals::default();
    let reported = std::mem::take(&mut heartbeat.pipelines);
    let mut pipelines = Pipelines::new();
    pipelines.taken.reserve(reported.len().min(MAX_PIPELINES_PER_REPORT));
    for pipeline in reported {
        pipelines.take(pipeline, Components::ALL, &mut refusals);
    }
    assemble(heartbeat, pipelines, refusals)
}

/// Takes what a heartbeat has beside its pipelines.
pub(super) fn assemble(heartbeat: Heartbeat<'_>, pipelines: Pipelines, refusals: Refusals) -> DecodedHeartbeat {
    let agent = ReportedAgent {
        kind: AgentKind::VectorFlow,
        name: None,
        version: short_option(heartbeat.agent_version),
        vector_version: short_option(heartbeat.vector_version),
        deployment_mode: short_option(heartbeat.deployment_mode),
        running_as: short_option(heartbeat.running_as),
        engines: Some(vec![ENGINE.to_owned()]),
        labels: heartbeat.labels.map(take_labels),
    };
    DecodedHeartbeat {
        report: TotalsReport {
            agent: Some(agent),
            health: heartbeat.agent_health.map(health),
            host: heartbeat.host_metrics.as_ref().map(host),
            pipelines: pipelines.taken,
            complete: pipelines.complete,
            deployments: ReportedDeployments::UNKNOWN,
        },
        update_error: short_option(heartbeat.update_error),
        sample_results: None,
        refusals,
    }
}

fn health(health: AgentHealth) -> systole_shared::AgentHealth {
    systole_shared::AgentHealth {
        send_errors: health.heartbeat_errors_total.saturating_add(health.poll_errors_total),
        reconnects: health.push_reconnects_total,
        uptime_seconds: health.uptime_seconds,
        ..systole_shared::AgentHealth::default()
    }
}

/// The host as a pipeline's `host_metrics` saw it: bytes are whole numbers there, too.
fn host(host: &HostMetrics) -> systole_shared::HostMetrics {
    let bytes = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0).map(|value| value as u64);
    systole_shared::HostMetrics {
        memory_total_bytes: bytes(host.memory_total_bytes),
        memory_used_bytes: bytes(host.memory_used_bytes),
        memory_free_bytes: bytes(host.memory_free_bytes),
        cpu_seconds_total: host.cpu_seconds_total,
        cpu_seconds_idle: host.cpu_seconds_idle,
        load_avg_1: host.load_avg1,
        load_avg_5: host.load_avg5,
        load_avg_15: host.load_avg15,
        fs_total_bytes: bytes(host.fs_total_bytes),
        fs_used_bytes: bytes(host.fs_used_bytes),
        fs_free_bytes: bytes(host.fs_free_bytes),
        disk_read_bytes: bytes(host.disk_read_bytes),
        disk_written_bytes: bytes(host.disk_written_bytes),
        net_rx_bytes: bytes(host.net_rx_bytes),
        net_tx_bytes: bytes(host.net_tx_bytes),
    }
}
