//! The payloads of the feed, `GET /api/v1/events`.
//!
//! Every payload repeats its type, so that a stored or forwarded one explains itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::AlertChange;
use crate::desired::DeploymentPhase;
use crate::log::known_level;
use crate::report::ComponentKind;
use crate::{
    ComponentId, EnvironmentId, LogLevel, LogStream, NodeId, NodeStatus, PipelineId, PipelineStatus, RateSample,
    UnixMillis,
};

/// The event types that a subscriber can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The state of a node, with every report. The newest per node counts.
    FleetStatus,
    /// The rates of a pipeline, with every report. The newest per pipeline counts.
    MetricUpdate,
    /// A node or a pipeline changed its state. Never lost without a `gap`.
    StatusChange,
    /// Lines that a pipeline wrote. Never lost without a `gap`.
    LogEntry,
    /// A version of a pipeline went a step further on a node. Never lost without a `gap`.
    Deployment,
    /// An alert began, fired or ended. Never lost without a `gap`.
    Alert,
    /// Numbers about all nodes of an environment, at most once a second. The newest per environment counts.
    FleetTotals,
}

impl EventType {
    /// Every type.
    pub const ALL: [EventType; 7] = [
        EventType::FleetStatus,
        EventType::MetricUpdate,
        EventType::StatusChange,
        EventType::LogEntry,
        EventType::Deployment,
        EventType::Alert,
        EventType::FleetTotals,
    ];

    /// The type as `event:` and `types=` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::FleetStatus => "fleet_status",
            EventType::MetricUpdate => "metric_update",
            EventType::StatusChange => "status_change",
            EventType::LogEntry => "log_entry",
            EventType::Deployment => "deployment",
            EventType::Alert => "alert",
            EventType::FleetTotals => "fleet_totals",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether the event is kept in the database and replayed from there.
    pub fn is_durable(self) -> bool {
        matches!(self, EventType::StatusChange | EventType::LogEntry | EventType::Deployment | EventType::Alert)
    }
}

/// An event with an id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(rename = "FeedEvent"))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The state of a node, with every report. The newest per node counts.
    FleetStatus(FleetStatus),
    /// The rates of a pipeline, with every report. The newest per pipeline counts.
    MetricUpdate(Arc<MetricUpdate>),
    /// A node or a pipeline changed its state. Never lost without a `gap`.
    StatusChange(StatusChange),
    /// Lines that a pipeline wrote. Never lost without a `gap`.
    LogEntry(LogEntry),
    /// A version of a pipeline went a step further on a node. Never lost without a `gap`.
    Deployment(Deployment),
    /// An alert began, fired or ended. Never lost without a `gap`.
    Alert(AlertChange),
    /// Numbers about all nodes of an environment, at most once a second. The newest per environment counts.
    FleetTotals(FleetTotals),
}

/// All nodes of an environment and their pipelines, counted.
///
/// Rates are those of the last report of each node. A node that is silent and a pipeline without a sample add nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct FleetTotals {
    /// The environment.
    pub environment_id: EnvironmentId,
    /// When they were counted, by the collector's clock.
    pub timestamp: UnixMillis,
    /// Nodes by state. A state without a node is left out.
    pub nodes: BTreeMap<NodeStatus, u64>,
    /// Pipelines on nodes, by state. A state without a pipeline is left out.
    pub pipelines: BTreeMap<PipelineStatus, u64>,
    /// Events per second that sources received.
    pub events_in_rate: f64,
    /// Events per second that sinks sent.
    pub events_out_rate: f64,
    /// Errors per second.
    pub errors_rate: f64,
    /// Events per second that components discarded.
    pub discarded_rate: f64,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The node.
    pub node_id: NodeId,
    /// Its state.
    pub status: NodeStatus,
    /// End of the report's interval, or when the collector noticed the silence.
    pub timestamp: UnixMillis,
    /// Pipelines whose process runs.
    pub pipelines_running: u32,
}

/// The rates of a pipeline over one report's interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct MetricUpdate {
    /// The node.
    pub node_id: NodeId,
    /// The pipeline.
    pub pipeline_id: PipelineId,
    /// End of the interval.
    pub timestamp: UnixMillis,
    /// The pipeline as a whole.
    pub sample: RateSample,
    /// Its components.
    pub components: Vec<ComponentSample>,
}

/// The rates of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct ComponentSample {
    /// As the engine names it.
    pub component_id: ComponentId,
    /// What it does.
    pub kind: ComponentKind,
    /// Its rates.
    pub sample: RateSample,
}

/// A node or a pipeline changed its state, or has a new reason for the same state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct StatusChange {
    /// The node.
    pub node_id: NodeId,
    /// Its name when this happened. Events of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub node_name: Option<String>,
    /// The pipeline, unless the node itself changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub pipeline_id: Option<PipelineId>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub pipeline_name: Option<String>,
    /// The state before; `UNKNOWN` before the first report.
    pub from_status: String,
    /// The state now; the same as before when only the reason is new.
    pub to_status: String,
    /// Why; empty when the report does not state it.
    pub reason: String,
    /// When it happened.
    pub timestamp: UnixMillis,
}

/// Lines that a pipeline wrote, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// The node.
    pub node_id: NodeId,
    /// The pipeline.
    pub pipeline_id: PipelineId,
    /// The lines.
    pub entries: Vec<LogEntryLine>,
}

/// One line of a [`LogEntry`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct LogEntryLine {
    /// When the agent read it.
    pub at: UnixMillis,
    /// Where it came from.
    pub stream: LogStream,
    /// The severity that it states; null when it states none.
    #[serde(default, deserialize_with = "known_level")]
    pub level: Option<LogLevel>,
    /// The text.
    pub line: String,
}

/// A version of a pipeline went a step further on a node, or has a new reason for the same step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The node.
    pub node_id: NodeId,
    /// The pipeline; `agent` for an update of the agent itself.
    pub pipeline_id: PipelineId,
    /// The version.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub version: i64,
    /// How far it is.
    pub phase: DeploymentPhase,
    /// Why, in the engine's own words; empty when there is nothing to say.
    pub reason: String,
    /// When it happened.
    pub timestamp: UnixMillis,
}

/// Control events: they steer the connection and carry no id of their own, except the last chunk
/// of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(rename = "ControlEvent"))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// The first event of every connection.
    #[serde(rename_all = "camelCase")]
    Hello {
        /// The database's epoch, the first half of every id.
        epoch: String,
        /// Highest sequence number that is committed.
        head: u64,
        /// Lowest sequence number that is still kept.
        oldest: u64,
        /// A ping comes at least this often.
        ping_ms: u64,
        /// Name and version of the server.
        server: String,
        /// Whether the stream continues from the id that the client named.
        resumed: bool,
    },
    /// Part of the state at the watermark; the last part has `done` and the watermark as its id.
    Snapshot {
        /// Nodes with their state.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<SnapshotNode>,
        /// Pipelines on nodes with their state.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pipelines: Vec<SnapshotPipeline>,
        /// The last sample of every pipeline, in the form of `metric_update`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        samples: Vec<MetricUpdate>,
        /// The last totals of every environment, in the form of `fleet_totals`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        totals: Vec<FleetTotals>,
        /// Whether this is the last part.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        done: bool,
    },
    /// The connection is alive.
    Ping {
        /// The collector's clock.
        now: UnixMillis,
    },
    /// Durable events that this stream does not send: fetch the range by the query API, or take a
    /// snapshot.
    Gap {
        /// First sequence number that may be missing.
        from: u64,
        /// Last one.
        to: u64,
        /// Types that may be missing.
        types: Vec<EventType>,
        /// Why.
        reason: GapReason,
    },
    /// The id that the client named is not valid here; a snapshot follows.
    Reset {
        /// Why.
        reason: ResetReason,
    },
    /// The server closes this connection on purpose.
    #[serde(rename_all = "camelCase")]
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// Milliseconds to wait before the next connection.
        retry_ms: u64,
    },
}

impl Control {
    /// The name that `event:` has.
    pub fn name(&self) -> &'static str {
        match self {
            Control::Hello { .. } => "hello",
            Control::Snapshot { .. } => "snapshot",
            Control::Ping { .. } => "ping",
            Control::Gap { .. } => "gap",
            Control::Reset { .. } => "reset",
            Control::Goodbye { .. } => "goodbye",
        }
    }
}

/// A node in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SnapshotNode {
    /// The node.
    pub node_id: NodeId,
    /// Its host's name.
    pub name: String,
    /// Its state.
    pub status: NodeStatus,
    /// When its last report came; null before the first.
    pub last_seen_at: Option<UnixMillis>,
    /// The end of its maintenance; null when there is none.
    #[serde(default)]
    pub maintenance_until: Option<UnixMillis>,
}

/// A pipeline on a node in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPipeline {
    /// The node.
    pub node_id: NodeId,
    /// The pipeline.
    pub pipeline_id: PipelineId,
    /// Its name for people.
    pub pipeline_name: String,
    /// Its state.
    pub status: PipelineStatus,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// They are older than what is kept.
    Retention,
    /// There are more than one replay sends.
    Limit,
    /// The subscriber read too slowly.
    Slow,
    /// They could not be read.
    Restart,
}

/// Why an id is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum ResetReason {
    /// It is of another database.
    Epoch,
    /// It is ahead of what is committed.
    Ahead,
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum GoodbyeReason {
    /// The collector stops or restarts.
    Shutdown,
    /// The token was revoked or has expired.
    Revoked,
    /// Too many connections.
    Overloaded,
    /// The client does not read.
    Slow,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(event: &Event) -> Vec<String> {
        let value = serde_json::to_value(event).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    fn node() -> NodeId {
        "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
    }

    fn rates() -> RateSample {
        RateSample {
            timestamp: 1,
            received_events_rate: 2.0,
            sent_events_rate: 3.0,
            received_bytes_rate: 4.0,
            sent_bytes_rate: 5.0,
            error_count: 6.0,
            errors_rate: 7.0,
            discarded_rate: 8.0,
            latency_mean_ms: None,
        }
    }

    #[test]
    fn events_have_the_names_of_the_feed() {
        let fleet = Event::FleetStatus(FleetStatus {
            node_id: node(),
            status: NodeStatus::Healthy,
            timestamp: 1,
            pipelines_running: 2,
        });
        assert_eq!(
            serde_json::to_value(&fleet).unwrap(),
            serde_json::json!({"type": "fleet_status", "nodeId": node(), "status": "HEALTHY", "timestamp": 1, "pipelinesRunning": 2})
        );
        let change = Event::StatusChange(StatusChange {
            node_id: node(),
            node_name: Some("web-1".into()),
            pipeline_id: Some(PipelineId::parse("orders").unwrap()),
            pipeline_name: Some("Orders".into()),
            from_status: "RUNNING".into(),
            to_status: "CRASHED".into(),
            reason: "exit 1".into(),
            timestamp: 1,
        });
        assert_eq!(
            keys(&change),
            [
                "fromStatus",
                "nodeId",
                "nodeName",
                "pipelineId",
                "pipelineName",
                "reason",
                "timestamp",
                "toStatus",
                "type"
            ]
        );
        let update = Event::MetricUpdate(Arc::new(MetricUpdate {
            node_id: node(),
            pipeline_id: PipelineId::parse("orders").unwrap(),
            timestamp: 1,
            sample: rates(),
            components: vec![ComponentSample {
                component_id: ComponentId::parse("in").expect("an id"),
                kind: ComponentKind::Source,
                sample: rates(),
            }],
        }));
        let value = serde_json::to_value(&update).unwrap();
        assert_eq!(value["type"], "metric_update");
        assert_eq!(value["components"][0]["componentId"], "in");
        assert_eq!(value["components"][0]["kind"], "source");
        let mut names: Vec<_> = value["sample"].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "discardedRate",
                "errorCount",
                "errorsRate",
                "latencyMeanMs",
                "receivedBytesRate",
                "receivedEventsRate",
                "sentBytesRate",
                "sentEventsRate",
                "timestamp"
            ]
        );
    }

    #[test]
    fn control_events_have_the_names_of_the_feed() {
        let gap = Control::Gap { from: 1, to: 9, types: vec![EventType::LogEntry], reason: GapReason::Retention };
        assert_eq!(
            serde_json::to_value(&gap).unwrap(),
            serde_json::json!({"type": "gap", "from": 1, "to": 9, "types": ["log_entry"], "reason": "retention"})
        );
        let hello = Control::Hello {
            epoch: "e".into(),
            head: 3,
            oldest: 1,
            ping_ms: 10_000,
            server: "s".into(),
            resumed: true,
        };
        assert_eq!(
            serde_json::to_value(&hello).unwrap(),
            serde_json::json!({"type": "hello", "epoch": "e", "head": 3, "oldest": 1, "pingMs": 10_000, "server": "s", "resumed": true})
        );
    }
}
