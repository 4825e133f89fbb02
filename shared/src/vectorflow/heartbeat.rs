//! The body of `POST /api/agent/heartbeat`.

use std::collections::BTreeMap;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::SampleResult;
use crate::bounded::{at_most, first_entries_if_any};
use crate::limits::{MAX_LABELS, MAX_PIPELINES_PER_REPORT};
use crate::{Counter, Text};

/// The state of a node and its pipelines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowHeartbeat))]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat<'a> {
    /// Every pipeline of the node.
    #[serde(borrow, deserialize_with = "at_most::<_, _, MAX_PIPELINES_PER_REPORT>")]
    pub pipelines: Vec<HeartbeatPipeline<'a>>,
    /// The host, as the first of its pipelines sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_metrics: Option<HostMetrics>,
    /// Version of the agent, at most 100 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<Text<'a>>,
    /// Version of Vector, at most 100 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub vector_version: Option<Text<'a>>,
    /// `STANDALONE` or `DOCKER`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub deployment_mode: Option<Text<'a>>,
    /// The user that the agent runs as, at most 100 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub running_as: Option<Text<'a>>,
    /// Answers to sample requests, in the older form. They are not read into this type, because events can take many
    /// times their text: it is only `Some` then, and a reader takes them from the body.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "is_there")]
    pub sample_results: Option<Vec<SampleResult>>,
    /// Why the last update failed, sent once; at most 500 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub update_error: Option<Text<'a>>,
    /// The labels of the node.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "first_entries_if_any::<_, _, _, MAX_LABELS>"
    )]
    pub labels: Option<BTreeMap<Text<'a>, Text<'a>>>,
    /// The state of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_health: Option<AgentHealth>,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<SampleResult>>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| Some(Vec::new()))
}

/// One pipeline. Counters are totals since the start of its process; those that are zero may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowHeartbeatPipeline))]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatPipeline<'a> {
    /// As the server named it.
    #[serde(borrow)]
    pub pipeline_id: Text<'a>,
    /// The version that runs.
    #[serde(default)]
    pub version: i64,
    /// `RUNNING`, `STARTING`, `STOPPED`, `CRASHED`, `PENDING`; newer Go agents also send `CRASH_LOOP`, which a VectorFlow
    /// server refuses.
    #[serde(borrow)]
    pub status: Text<'a>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<u64>,
    /// Events of the sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_in: Option<Counter>,
    /// Events of the sinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_out: Option<Counter>,
    /// Errors of all components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_total: Option<Counter>,
    /// Bytes of the sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<Counter>,
    /// Bytes of the sinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<Counter>,
    /// Events that components discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_discarded: Option<Counter>,
    /// Share of time at work, 0 to 1. The Go agent always sends 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// The components; absent after a failed scrape.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub component_metrics: Option<Vec<HeartbeatComponent<'a>>>,
    /// The last lines of the process.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub recent_logs: Option<Vec<Text<'a>>>,
    /// The checksum of the configuration that runs, at most 128 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub config_checksum: Option<Text<'a>>,
}

/// One component. Counters are totals, as for the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowHeartbeatComponent))]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatComponent<'a> {
    /// As Vector names it.
    #[serde(borrow)]
    pub component_id: Text<'a>,
    /// `source`, `transform` or `sink`.
    #[serde(borrow, default)]
    pub component_kind: Text<'a>,
    /// Events received.
    #[serde(default)]
    pub received_events: Counter,
    /// Events sent.
    #[serde(default)]
    pub sent_events: Counter,
    /// Bytes received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<Counter>,
    /// Bytes sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<Counter>,
    /// Errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_total: Option<Counter>,
    /// Events discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded_events: Option<Counter>,
    /// Mean time that an event spends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_mean_seconds: Option<f64>,
}

/// The host. Bytes and seconds, since its boot where it is a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowHostMetrics))]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct HostMetrics {
    pub memory_total_bytes: Option<f64>,
    pub memory_used_bytes: Option<f64>,
    pub memory_free_bytes: Option<f64>,
    pub cpu_seconds_total: Option<f64>,
    pub cpu_seconds_idle: Option<f64>,
    pub load_avg1: Option<f64>,
    pub load_avg5: Option<f64>,
    pub load_avg15: Option<f64>,
    pub fs_total_bytes: Option<f64>,
    pub fs_used_bytes: Option<f64>,
    pub fs_free_bytes: Option<f64>,
    pub disk_read_bytes: Option<f64>,
    pub disk_written_bytes: Option<f64>,
    pub net_rx_bytes: Option<f64>,
    pub net_tx_bytes: Option<f64>,
}

/// The state of the agent. Counters start with its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowAgentHealth))]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct AgentHealth {
    pub poll_errors_total: u64,
    pub push_reconnects_total: u64,
    pub heartbeat_errors_total: u64,
    pub push_connected: bool,
    pub pipelines_running: u64,
    pub uptime_seconds: u64,
}
