//! Questions to the store and their answers.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use systole_shared::events::EventType;
use systole_shared::{LogLevel, NodeId, UnixMillis};

use super::{EnvironmentKey, NodeKey, Oldest, PipelineStatusRow};

/// Which nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeQuery {
    /// `None`: every environment.
    pub environments: Option<Vec<EnvironmentKey>>,
    pub id: Option<NodeId>,
    pub status: Option<String>,
    /// Only nodes after this name and key.
    pub after: Option<(String, i64)>,
    pub limit: i64,
}

/// A node with its last state.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    pub key: NodeKey,
    pub id: String,
    pub environment: EnvironmentKey,
    pub name: String,
    pub os: String,
    pub agent_version: Option<String>,
    pub vector_version: Option<String>,
    pub deployment_mode: Option<String>,
    pub running_as: Option<String>,
    pub labels: String,
    pub health: Option<String>,
    pub host: Option<String>,
    pub status: String,
    pub status_reason: String,
    pub status_since: UnixMillis,
    pub last_seen_at: Option<UnixMillis>,
    pub enrolled_at: UnixMillis,
    pub pipelines: Vec<PipelineStatusView>,
}

/// A pipeline's last state on one node.
#[derive(Clone, Debug)]
pub(crate) struct PipelineStatusView {
    pub pipeline: String,
    pub pipeline_name: String,
    pub node: String,
    pub node_name: String,
    pub row: PipelineStatusRow,
}

/// Which pipelines.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipelineQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    /// The user's id of the pipeline.
    pub id: Option<String>,
    /// Only pipelines after this id and key.
    pub after: Option<(String, i64)>,
    pub limit: i64,
}

/// A pipeline with its state on each node.
#[derive(Clone, Debug)]
pub(crate) struct PipelineView {
    pub key: i64,
    pub environment: EnvironmentKey,
    pub id: String,
    pub name: String,
    pub nodes: Vec<PipelineStatusView>,
}

/// A pipeline's minute, hour or day, summed over nodes.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub(crate) struct PipelineMinuteView {
    /// Number of the minute, hour or day.
    #[diesel(sql_type = BigInt)]
    pub at: i64,
    #[diesel(sql_type = BigInt)]
    pub events_in: i64,
    #[diesel(sql_type = BigInt)]
    pub events_out: i64,
    #[diesel(sql_type = BigInt)]
    pub errors: i64,
    #[diesel(sql_type = BigInt)]
    pub discarded: i64,
    #[diesel(sql_type = BigInt)]
    pub bytes_in: i64,
    #[diesel(sql_type = BigInt)]
    pub bytes_out: i64,
    #[diesel(sql_type = Nullable<Double>)]
    pub utilization: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub latency_ms: Option<f64>,
    #[diesel(sql_type = BigInt)]
    pub samples: i64,
    #[diesel(sql_type = BigInt)]
    pub gaps: i64,
    #[diesel(sql_type = BigInt)]
    pub resets: i64,
    #[diesel(sql_type = BigInt)]
    pub logs_dropped: i64,
}

/// A component's minute, hour or day, summed over nodes.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub(crate) struct ComponentMinuteView {
    /// Number of the minute, hour or day.
    #[diesel(sql_type = BigInt)]
    pub at: i64,
    #[diesel(sql_type = Text)]
    pub component: String,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = BigInt)]
    pub received_events: i64,
    #[diesel(sql_type = BigInt)]
    pub sent_events: i64,
    #[diesel(sql_type = BigInt)]
    pub errors: i64,
    #[diesel(sql_type = BigInt)]
    pub discarded: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub received_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub sent_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub utilization: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub latency_ms: Option<f64>,
    #[diesel(sql_type = BigInt)]
    pub samples: i64,
}

/// Which log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    pub node: Option<NodeKey>,
    /// Keys of pipelines; `None`: all.
    pub pipelines: Option<Vec<i64>>,
    /// This level and above.
    pub min_level: Option<LogLevel>,
    /// Text that the line holds, in any case.
    pub text: Option<String>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    /// Only lines after this sequence number.
    pub after: i64,
    pub limit: i64,
}

/// A log line.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    pub seq: i64,
    pub at: UnixMillis,
    pub node: String,
    pub pipeline: String,
    pub stream: String,
    pub level: Option<String>,
    pub line: String,
}

/// Which status changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatusChangeQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    pub node: Option<NodeKey>,
    pub pipelines: Option<Vec<i64>>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    pub after: i64,
    pub limit: i64,
}

/// A durable event as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub seq: u64,
    pub kind: EventType,
    /// JSON of the event.
    pub payload: String,
}

/// Durable events after `after` up to `to`, as a subscriber may see and wants to see them.
#[derive(Clone, Debug)]
pub(crate) struct ReplayQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Durable types only.
    pub types: Vec<EventType>,
    /// Empty: every node.
    pub nodes: Vec<NodeId>,
    /// Ids of pipelines. Empty: every pipeline, and events of nodes.
    pub pipelines: Vec<String>,
    pub after: u64,
    pub to: u64,
    pub limit: u32,
}

/// Part of a replay.
#[derive(Clone, Debug)]
pub(crate) struct ReplayPage {
    pub events: Vec<StoredEvent>,
    /// Everything up to here was looked at.
    pub cursor: u64,
    /// Lowest sequence number from which on everything was still kept when the page was read.
    pub oldest: Oldest,
}

/// The state of nodes and pipelines at one point of the sequence.
#[derive(Clone, Debug)]
pub(crate) struct StateSnapshot {
    /// Every event up to here is part of it, none behind.
    pub watermark: u64,
    pub nodes: Vec<NodeView>,
}

/// Rows from before these times are expired.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cutoffs {
    pub minutes_before: i64,
    /// Unix hours.
    pub hours_before: i64,
    /// Unix days.
    pub days_before: i64,
    pub logs_before: UnixMillis,
    pub events_before: UnixMillis,
    /// Tokens of nodes and sessions that ended before; those of people stay in the list.
    pub tokens_before: UnixMillis,
}
